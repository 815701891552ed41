const live = element.querySelector(".so-live");
const one = (name) => live.querySelector(name);
const form = one(".so-controls");
const LETTER = 6.2, LABEL = 22, APART = 13; // pixels a letter, letters and pixels a label at a curve's end
const EVERY = 250, ENDED = 2000;
const LIMIT = 3; // a plot that has grown to so many times the rows of a whole answer is fetched anew
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "x", "cross"];
const PATTERNS = ["", "/", ".", "\\", "x", "-", "+", "|"];
const LIGHT = ["#b3400e", "#1d5fc4", "#0f766e", "#8a3ab9", "#7a6200", "#c2185b", "#44546a", "#2f7d32"];
const DARK = ["#ff9d66", "#7db4ff", "#4fd1c0", "#d3a2f5", "#e3c44d", "#ff8fb8", "#b6c4d4", "#8ed18f"];
const OVER = { step: "step", hours: "hours of training", clock: "clock time" };
const plots = new Map();
let run = props.value || "";
let generation = 0;
let latest = "";

const write = (node, text) => { if (node.textContent !== text) node.textContent = text; };
const make = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};
const dark = () => document.body.classList.contains("dark");
const smoothing = () => Number(form.smoothing.value);
const axis = () => form.axis.value;

// Cards

function addCard() {
  const title = make("h2"), value = make("b"), change = make("span", { className: "so-change" });
  const curve = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  curve.setAttribute("viewBox", "0 0 100 24");
  curve.setAttribute("preserveAspectRatio", "none");
  curve.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  curve.append(line);
  one(".so-cards").append(make("div", { className: "so-card" }, title, value, change, curve));
  return { title, value, change, line };
}

const FIGURES = [(value) => value.toFixed(2), (value) => value.toFixed(2),
  (value) => `${(100 * value).toFixed(1)} %`, (value) => value.toExponential(1)];
const cards = FIGURES.map(addCard);

function trend(change, figure) {
  if (change === null) return "";
  const mark = change > 0 ? "\u25b2 +" : change < 0 ? "\u25bc " : "";
  return `${mark}${figure(change).replace("%", "points")} on the 10 steps before`;
}

function drawCards(answer) {
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

const near = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    const plot = [...plots.values()].find(({ box }) => box.parentElement === target);
    plot.near = isIntersecting;
    if (plot.near && plot.late) draw(plot);
  }
}, { rootMargin: "200px" });

function addPlot(spec) {
  const box = make("div", { className: "so-plot" });
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", `${spec.title}, ${spec.unit}`);
  const empty = make("p", { className: "so-soon", textContent: spec.empty });
  const plot = { spec, box, empty, log: false, drawn: false, near: false, late: false, shown: "" };
  const tools = make("span", { className: "so-tools" },
    button("Log", `Log scale: ${spec.title}`, (node) => {
      plot.log = !plot.log;
      node.setAttribute("aria-pressed", plot.log);
      draw(plot);
    }),
    button("PNG", `PNG: ${spec.title}`, () => plot.drawn && Plotly.downloadImage(box, {
      format: "png", width: 1200, height: 600, scale: 2, filename: `${run} ${spec.id}` })),
    button("CSV", `CSV: ${spec.title}`, async () => save(`${run} ${spec.id}.csv`, await server.table({ run, plot: spec.id }))));
  tools.firstChild.setAttribute("aria-pressed", "false");
  const head = make("header", {}, make("h2", { textContent: spec.title }), make("small", { textContent: spec.unit }), tools);
  one(".so-plots").append(make("figure", { className: `so-figure so-figure-${spec.id}` }, head, empty, box));
  plots.set(spec.id, plot);
  reset(plot);
  near.observe(box.parentElement);
}

function reset(plot) {
  Object.assign(plot, { x: [], at: [], raw: {}, smooth: {}, whole: 0 });
}

function save(name, text) {
  const link = make("a", { download: name, href: URL.createObjectURL(new Blob([text], { type: "text/csv" })) });
  link.click();
  URL.revokeObjectURL(link.href);
}

/** Takes the rows that came in; those from `from` on replace what was there. */
function take(plot, rows, last) {
  let keep = plot.x.length;
  while (keep && plot.x[keep - 1] > rows.from) keep -= 1;
  const grown = (old, added) => old.slice(0, keep).concat(added);
  const columns = (old, added) => {
    const names = [...new Set([...Object.keys(old), ...Object.keys(added)])];
    return Object.fromEntries(names.map((name) => [name, grown(
      old[name] || new Array(plot.x.length).fill(null), added[name] || new Array(rows.x.length).fill(null))]));
  };
  plot.raw = columns(plot.raw, rows.raw);
  plot.smooth = columns(plot.smooth, rows.smooth);
  plot.at = grown(plot.at, rows.at || []);
  if (!plot.x.length) plot.whole = rows.x.length;
  plot.x = grown(plot.x, rows.x);
}

const since = (plot) => {
  if (plot.x.length > Math.max(500, LIMIT * plot.whole)) reset(plot);
  return plot.x.length ? plot.x[plot.x.length - 1] : -1;
};

const local = (seconds) => {
  if (seconds === null) return null;
  const date = new Date(seconds * 1000);
  return new Date(date - date.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
};

/** The plot's x as they are shown. */
const across = (plot) => (plot.spec.over_time ? plot.x.map(local)
  : axis() === "clock" ? plot.at.map(local) : axis() === "hours" ? plot.at : plot.x);

function traces(plot) {
  const colours = dark() ? DARK : LIGHT;
  const x = across(plot);
  const marks = plot.x.length < 60;
  const found = [];
  Object.keys(plot.raw).forEach((name, i) => {
    const colour = colours[i % colours.length];
    const common = { x, name, customdata: plot.x, connectgaps: plot.x.length > 0, line: { color: colour, width: 2, dash: DASHES[i % DASHES.length] } };
    if (plot.raw[name].every((y) => y === null)) return;
    if (plot.spec.stacked) {
      if (!plot.raw[name].some((y) => y > 0)) return;
      found.push({ ...common, y: plot.raw[name], mode: "lines", stackgroup: "all", line: { color: colour, width: 1 },
        fillpattern: { shape: PATTERNS[i % PATTERNS.length], size: 6, solidity: 0.15, fgcolor: dark() ? "#101418" : "#ffffff", fillmode: "overlay" } });
      return;
    }
    const smooth = plot.smooth[name];
    if (smooth) {
      found.push({ ...common, y: plot.raw[name], mode: "lines", opacity: 0.28, showlegend: false, hoverinfo: "skip",
        legendgroup: name, line: { color: colour, width: 1 } });
    }
    found.push({ ...common, y: smooth || plot.raw[name], legendgroup: name, mode: marks ? "lines+markers" : "lines",
      marker: { symbol: SYMBOLS[i % SYMBOLS.length], size: 5, color: colour } });
  });
  return found;
}

const narrow = (plot) => plot.box.clientWidth < 480;
const longest = (plot) => LETTER * Math.min(LABEL, Math.max(...Object.keys(plot.raw).map((name) => name.length)));

function layout(plot) {
  const ink = dark() ? "#c9d2d9" : "#3a464f", grid = dark() ? "#2a333b" : "#e3e7ea";
  const common = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, tickfont: { color: ink, size: 11 }, automargin: true };
  const over = plot.spec.over_time ? "clock time" : OVER[axis()];
  return {
    uirevision: `${run} ${over} ${plot.log}`, height: narrow(plot) ? 230 + 22 * Object.keys(plot.raw).length : 260,
    margin: { l: 44, r: narrow(plot) ? 12 : 10 + longest(plot), t: 4, b: 36 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, family: "system-ui, sans-serif", size: 11 },
    hovermode: "x unified", hoverlabel: { bgcolor: dark() ? "#171c21" : "#ffffff" },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 11 } }, showlegend: true,
    xaxis: { ...common, title: { text: over, font: { size: 11 } }, type: over === OVER.clock ? "date" : "linear" },
    yaxis: { ...common, type: plot.log ? "log" : "linear", ...(plot.spec.share && !plot.log ? { range: [-0.02, 1.02] } : {}) },
  };
}

// Names at the curves' ends, moved apart where they would meet; none where a zoom has left the end outside.

function ends(plot) {
  const { xaxis, yaxis } = plot.box._fullLayout;
  const [low, high] = yaxis.range, scale = yaxis.type === "log" ? Math.log10 : Number;
  let below = 0;
  const found = [];
  for (const trace of plot.box._fullData) {
    if (trace.visible !== true || trace.showlegend === false) continue;
    const last = trace.y.findLastIndex((y) => y !== null && Number.isFinite(y));
    if (last < 0) continue;
    const y = scale(trace.stackgroup ? below + trace.y[last] / 2 : trace.y[last]);
    if (trace.stackgroup) below += trace.y[last];
    const shown = xaxis.d2l(trace.x[last]) <= xaxis.r2l(xaxis.range[1]) && y >= low && y <= high;
    if (shown) found.push({ text: trace.name, y, colour: trace.line.color, at: ((y - low) / (high - low)) * yaxis._length });
  }
  found.sort((one, other) => one.at - other.at);
  let free = -Infinity;
  for (const end of found) {
    end.place = Math.max(end.at, free);
    free = end.place + APART;
  }
  const over = Math.max(0, free - APART - yaxis._length);
  return found.map(({ text, y, colour, at, place }) => ({
    xref: "paper", x: 1, xanchor: "left", xshift: 4, yref: "y", y, yanchor: "middle", yshift: place - over - at, showarrow: false,
    text: text.length > LABEL ? `${text.slice(0, LABEL - 1)}\u2026` : text, font: { size: 11, color: colour },
  }));
}

function label(plot) {
  const annotations = narrow(plot) ? [] : ends(plot);
  const said = JSON.stringify(annotations);
  if (said === plot.said) return;
  plot.said = said;
  Plotly.relayout(plot.box, { annotations });
}

const CONFIG = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "toImage", "autoScale2d", "zoomIn2d", "zoomOut2d"] };

/** Plots outside of the window are drawn when they come into it. */
function draw(plot) {
  plot.late = !plot.near;
  if (plot.late) return;
  const found = traces(plot);
  plot.empty.hidden = found.length > 0;
  plot.box.hidden = !found.length;
  if (!found.length) return;
  Plotly.react(plot.box, found, layout(plot), CONFIG);
  plot.said = "";
  label(plot);
  if (!plot.drawn) {
    plot.drawn = true;
    if (plot.spec.games) listen(plot);
    for (const event of ["plotly_relayout", "plotly_restyle"]) plot.box.on(event, () => label(plot));
  }
}

const NEAR = 40, STILL = 4; // pixels between a click and its step, and between press and release of a click

/** A click opens the games of the nearest step. Plotly's own click is lost when a refresh came since the mouse moved. */
function listen(plot) {
  let pressed = null;
  plot.box.addEventListener("pointerdown", (event) => {
    pressed = event.button === 0 && event.target.closest(".nsewdrag") ? event : null;
  }, true);
  window.addEventListener("pointerup", (event) => {
    const still = pressed && Math.hypot(event.clientX - pressed.clientX, event.clientY - pressed.clientY) < STILL;
    pressed = null;
    const step = still ? nearest(plot, event.clientX) : null;
    if (step !== null) trigger("select", { step, plot: plot.spec.id });
  }, true);
}

function nearest(plot, clientX) {
  const { xaxis } = plot.box._fullLayout;
  const at = clientX - plot.box.getBoundingClientRect().left - xaxis._offset;
  const away = across(plot).map((x) => Math.abs(xaxis.d2p(x) - at));
  const i = away.indexOf(Math.min(...away));
  return away[i] <= NEAR ? plot.x[i] : null;
}

// Asking for what is new

const state = () => document.querySelector("#status .so-status")?.dataset.state;
const ended = () => ["done", "crashed", "stopped", "created", "none"].includes(state());
const visible = () => !document.hidden && live.offsetParent !== null;

async function refresh(wanted) {
  const asked = generation;
  const answer = await server.refresh({
    run, smoothing: smoothing(), axis: axis(), since: Object.fromEntries(wanted.map((plot) => [plot.spec.id, since(plot)])),
  });
  if (asked !== generation) return;
  drawCards(answer.cards);
  for (const [id, rows] of Object.entries(answer.plots)) {
    const plot = plots.get(id), text = JSON.stringify(rows);
    if (text === plot.shown) continue;
    plot.shown = text;
    take(plot, rows, answer.last);
    draw(plot);
  }
  form.step.max = answer.last;
  write(one(".so-empty"), answer.last || !run ? (run ? "" : "No run yet. Start one on the page Run; its curves appear here.")
    : "No step has finished yet. Loading the engine comes first; the curves begin with step 1.");
}

async function refreshAll() {
  const [first, ...rest] = plots.values(), asked = generation;
  if (!run) {
    await refresh([]);
  } else if (!first.x.length) {
    await refresh([first]); // the reward curve does not wait for the others
    if (asked === generation) await refresh(rest);
  } else {
    await refresh([first, ...rest]);
  }
}

async function poll() {
  if (!live.isConnected) return;
  const asked = generation;
  let pause = EVERY;
  if (visible() && window.Plotly) {
    try {
      await refreshAll();
      pause = run && ended() && asked === generation ? ENDED : EVERY;
    } catch {
      pause = ENDED; // the status bar says that the dashboard does not answer
    }
  }
  setTimeout(poll, pause);
}

function anew() {
  generation += 1;
  for (const plot of plots.values()) {
    reset(plot);
    plot.shown = "";
  }
}

watch("value", () => {
  if (props.value === run) return;
  run = props.value || "";
  anew();
  for (const plot of plots.values()) draw(plot);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (form.step.value) trigger("select", { step: Number(form.step.value), plot: "rewards" });
});
form.smoothing.addEventListener("input", () => write(form.querySelector("output"), smoothing().toFixed(2)));
form.smoothing.addEventListener("change", anew);
form.axis.addEventListener("change", anew);
new MutationObserver(() => plots.forEach((plot) => plot.drawn && draw(plot))).observe(document.body, { attributes: true, attributeFilter: ["class"] });
props.plots.forEach(addPlot);
poll();
