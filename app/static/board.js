// Boards of curves: cards, controls, and plots that stay as they are while points are added to them.
// The page Live's is drawn before Gradio has mounted the page, if that is what the address opens: see app/opening.py.
import { draw, reset, since, take } from "./plot.js";

const { first, asked } = secondOpinion;
const EVERY = 50, LOOK = 250, LOST = 2000; // ms between two answers, two looks whether this is seen, after an error
const FIGURES = [(value) => value.toFixed(2), (value) => value.toFixed(2),
  (value) => `${(100 * value).toFixed(1)} %`, (value) => value.toExponential(1)];

const write = (node, text) => { if (node.textContent !== text) node.textContent = text; };
const breath = () => new Promise((done) => setTimeout(done));
const make = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};

// Cards

function addCard(live) {
  const title = make("h2"), value = make("b"), change = make("span", { className: "so-change" });
  const curve = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  curve.setAttribute("viewBox", "0 0 100 24");
  curve.setAttribute("preserveAspectRatio", "none");
  curve.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  curve.append(line);
  live.querySelector(".so-cards").append(make("div", { className: "so-card" }, title, value, change, curve));
  return { title, value, change, line };
}

function trend(change, figure) {
  if (change === null) return "";
  const mark = change > 0 ? "\u25b2 +" : change < 0 ? "\u25bc " : "";
  return `${mark}${figure(change).replace("%", "points")} on the 10 steps before`;
}

function drawCards(cards, answer) {
  Object.entries(answer).forEach(([title, card], i) => {
    write(cards[i].title, title);
    write(cards[i].value, card ? FIGURES[i](card.value) : "\u2013");
    write(cards[i].change, card ? trend(card.change, FIGURES[i]) : "comes with the first step");
    const y = card ? card.curve : [];
    const low = Math.min(...y), range = Math.max(...y) - low || 1, wide = Math.max(1, y.length - 1);
    cards[i].line.setAttribute("points", y.map((at, j) => `${(100 * j) / wide},${22 - (20 * (at - low)) / range}`).join(" "));
  });
}

// Plots

function button(text, label, action) {
  const node = make("button", { type: "button", className: "so-small", textContent: text });
  node.setAttribute("aria-label", label);
  node.addEventListener("click", () => action(node));
  return node;
}

function save(name, text) {
  const link = make("a", { download: name, href: URL.createObjectURL(new Blob([text], { type: "text/csv" })) });
  link.click();
  URL.revokeObjectURL(link.href);
}

const tools = (board, plot) => [
  button("Log", `Log scale: ${plot.spec.title}`, (node) => {
    plot.log = !plot.log;
    node.setAttribute("aria-pressed", plot.log);
    draw(plot);
  }),
  button("PNG", `PNG: ${plot.spec.title}`, () => plot.drawn && Plotly.downloadImage(plot.box, {
    format: "png", width: 1200, height: 600, scale: 2, filename: `${board.run} ${plot.spec.id}` })),
  button("CSV", `CSV: ${plot.spec.title}`, async (node) => {
    node.parentElement.querySelector("[role=alert]")?.remove();
    try {
      const { text } = await asked("table", { run: board.run, board: board.name, plot: plot.spec.id });
      save(`${board.run} ${plot.spec.id}.csv`, text);
    } catch {
      const said = make("span", { textContent: "No CSV: the dashboard did not answer." });
      said.setAttribute("role", "alert");
      node.after(said);
    }
  }),
];

function addPlot(board, spec) {
  const box = make("div", { className: "so-plot" });
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", `${spec.title}, ${spec.unit}`);
  const empty = make("p", { className: "so-soon", textContent: spec.empty });
  const plot = { board, spec, box, empty, log: false, drawn: false, near: !board.plots.size, late: false, shown: "", newest: "" };
  const buttons = tools(board, plot);
  buttons[0].setAttribute("aria-pressed", "false");
  const head = make("header", {}, make("h2", { textContent: spec.title }), make("small", { textContent: spec.unit }),
    make("span", { className: "so-tools" }, ...buttons));
  board.one(".so-plots").append(make("figure", { className: `so-figure so-figure-${spec.id}` }, head, empty, box));
  board.plots.set(spec.id, plot);
  reset(plot);
}

class Board {
  constructor(name, run) {
    Object.assign(this, { name, run, plots: new Map(), generation: 0, newest: "", waiting: null, open: () => {} });
    this.live = document.getElementById("so-board").content.firstElementChild.cloneNode(true);
    this.form = this.one(".so-controls");
    this.cards = FIGURES.map(() => addCard(this.live));
    first.plots[name].forEach((spec) => addPlot(this, spec));
    this.listen();
    queueMicrotask(() => this.poll()); // by then it is in the page
  }

  one(name) { return this.live.querySelector(name); }
  axis() { return this.form.axis.value; }
  seen() { return !document.hidden && this.live.offsetParent !== null; }

  listen() {
    const form = this.form;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (form.step.value) this.open({ step: Number(form.step.value), plot: this.plots.keys().next().value });
    });
    form.smoothing.addEventListener("input", () => write(form.querySelector("output"), Number(form.smoothing.value).toFixed(2)));
    form.smoothing.addEventListener("change", () => this.anew());
    form.axis.addEventListener("change", () => this.anew());
    new MutationObserver(() => this.plots.forEach((plot) => plot.drawn && draw(plot)))
      .observe(document.body, { attributes: true, attributeFilter: ["class"] });
    if (!window.Plotly) document.getElementById("so-plotly").addEventListener("load", () => this.plots.forEach((plot) => plot.late && draw(plot)));
    const near = new IntersectionObserver((found) => found.forEach(({ target, isIntersecting }) => this.pass(target, isIntersecting)), { rootMargin: "200px" });
    this.plots.forEach(({ box }) => near.observe(box.parentElement));
  }

  /** A plot came near the window, or left it. */
  pass(figure, isNear) {
    const plot = [...this.plots.values()].find(({ box }) => box.parentElement === figure);
    plot.near = isNear;
    if (isNear && plot.late) draw(plot);
    if (isNear && plot.newest !== this.newest) this.waiting?.abort();
  }

  show(run) {
    if (run === this.run) return;
    this.run = run;
    this.anew();
    this.plots.forEach((plot) => draw(plot));
  }

  anew() {
    this.generation += 1;
    for (const plot of this.plots.values()) {
      reset(plot);
      Object.assign(plot, { shown: "", newest: "" });
    }
    this.waiting?.abort();
  }

  /** Asks for these plots; the answer comes at once if one of them is behind, else when there is news. */
  async refresh(wanted) {
    const { generation, run } = this;
    const known = wanted.length && wanted.every((plot) => plot.newest === this.newest) ? this.newest : "";
    const answer = await this.ask({
      run, board: this.name, smoothing: Number(this.form.smoothing.value), axis: this.axis(), known,
      since: Object.fromEntries(wanted.map((plot) => [plot.spec.id, since(plot)])),
    });
    if (generation !== this.generation) return;
    if (answer.newest !== this.newest) document.dispatchEvent(new CustomEvent("so-news"));
    this.newest = answer.newest;
    for (const plot of wanted) {
      if (plot !== wanted[0]) await breath(); // each plot is seen as soon as it is drawn
      if (generation !== this.generation) return;
      plot.newest = answer.newest;
      const rows = answer.plots[plot.spec.id], text = JSON.stringify(rows);
      if (!rows || text === plot.shown) continue;
      plot.shown = text;
      take(plot, rows, answer.last);
      draw(plot);
    }
    drawCards(this.cards, answer.cards);
    this.form.step.max = answer.last;
    write(this.one(".so-empty"), answer.last || !run ? (run ? "" : "No run yet. Start one on the page Run; its curves appear here.")
      : "No step has finished yet. Loading the engine comes first; the curves begin with step 1.");
  }

  /** Given up as soon as nobody sees the board. */
  async ask(wish) {
    const ahead = secondOpinion.points;
    secondOpinion.points = null;
    if (this === early && ahead) return ahead;
    const waiting = this.waiting = new AbortController();
    const look = setInterval(() => this.seen() || waiting.abort(), LOOK);
    try {
      return await asked("points", wish, waiting.signal);
    } finally {
      clearInterval(look);
      this.waiting = null;
    }
  }

  async poll() {
    let pause = LOOK;
    if (this.seen()) {
      try {
        const [main, ...others] = this.plots.values(), { generation } = this;
        if (!main.x.length) {
          await this.refresh([main]); // the first curve does not wait for the others
          if (this === early) await goOn(main);
        }
        if (generation === this.generation) await this.refresh([main, ...others.filter((plot) => plot.near)]);
        pause = EVERY;
      } catch (error) {
        pause = error.name === "AbortError" ? 0 : LOST; // the status bar says that the dashboard does not answer
      }
    }
    if (this.live.isConnected) setTimeout(() => this.poll(), pause);
  }
}

// Before Gradio, and under it

let early = null;

/** Draws the board over the place where Gradio's page will have it. */
function begin() {
  const theme = localStorage.getItem("second-opinion-theme") || "system";
  const dark = theme === "dark" || (theme === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.body.classList.toggle("dark", dark);
  const colours = make("link", { rel: "stylesheet", href: `theme.css?v=${window.gradio_config.theme_hash}` });
  const place = make("div", { className: "so-early" });
  document.head.append(colours);
  document.body.append(place);
  early = new Board("live", first.run);
  early.open = (wish) => { early.wish = wish; };
  place.append(early.live);
  selectLive(window.gradio_config);
}

/** Lets Gradio begin once the curve is on the screen. */
async function goOn(plot) {
  if (plot.late && !window.Plotly) await new Promise((done) => document.getElementById("so-plotly").addEventListener("load", done));
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  secondOpinion.goOn();
}

/** Otherwise Gradio mounts the form of the page Run first, which takes longer than all the rest. */
function selectLive(config) {
  const tabs = config.components.find(({ props }) => props.elem_id === "pages");
  if (tabs) tabs.props.selected = "live";
}

Object.assign(secondOpinion, {
  /** The board of this name, in the element that a gr.HTML gives it; `open` is told what a click wants to see. */
  board(name, element, run, open) {
    const board = name === "live" && early ? early : new Board(name, run);
    if (board === early) {
      document.querySelector(".so-early").remove();
      early = null;
    }
    board.open = open;
    element.querySelector(".so-place").append(board.live);
    if (run) board.show(run);
    if (board.wish) open(board.wish);
    return board;
  },
  /** The page is loaded: if it opened something else after all, the early board must not lie over it. */
  loaded() {
    if (!early || document.querySelector('[role="tab"][aria-selected="true"]')?.textContent.trim() === "Live") return;
    document.querySelector(".so-early").remove();
    early = null;
  },
});
if (first.tab === "live" && first.run) begin();
