// One plot of a board: its rows, its traces, its layout, and a click on it. `plot.board` has `run`, `axis()` and `open(wish)`.

const LETTER = 6.2, LABEL = 22, APART = 13; // pixels a letter, letters and pixels a label at a curve's end
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "x", "cross"];
const PATTERNS = ["", "/", ".", "\\", "x", "-", "+", "|"];
const LIGHT = ["#b3400e", "#1d5fc4", "#0f766e", "#8a3ab9", "#7a6200", "#c2185b", "#44546a", "#2f7d32"];
const DARK = ["#ff9d66", "#7db4ff", "#4fd1c0", "#d3a2f5", "#e3c44d", "#ff8fb8", "#b6c4d4", "#8ed18f"];
const OVER = { step: "step", hours: "hours of training", clock: "clock time" };
const LIMIT = 3; // a plot that has grown to so many times the rows of a whole answer is fetched anew
const NEAR = 40, STILL = 4; // pixels between a click and its step, and between press and release of a click
const CONFIG = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "toImage", "autoScale2d", "zoomIn2d", "zoomOut2d"] };

const dark = () => document.body.classList.contains("dark");

export function reset(plot) {
  Object.assign(plot, { x: [], at: [], raw: {}, smooth: {}, whole: 0 });
}

/** Takes the rows that came in; those from `from` on replace what was there. */
export function take(plot, rows, last) {
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

/** The x after which rows are wanted. */
export const since = (plot) => {
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
  : plot.board.axis() === "clock" ? plot.at.map(local) : plot.board.axis() === "hours" ? plot.at : plot.x);

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
  const over = plot.spec.over_time ? "clock time" : OVER[plot.board.axis()];
  return {
    uirevision: `${plot.board.run} ${over} ${plot.log}`, height: narrow(plot) ? 230 + 22 * Object.keys(plot.raw).length : 260,
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

/** Plots outside of the window are drawn when they come into it, and all when Plotly is there. */
export function draw(plot) {
  plot.late = !plot.near || !window.Plotly;
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
    if (step !== null) plot.board.open({ step, plot: plot.spec.id });
  }, true);
}

function nearest(plot, clientX) {
  const { xaxis } = plot.box._fullLayout;
  const at = clientX - plot.box.getBoundingClientRect().left - xaxis._offset;
  const away = across(plot).map((x) => Math.abs(xaxis.d2p(x) - at));
  const i = away.indexOf(Math.min(...away));
  return away[i] <= NEAR ? plot.x[i] : null;
}
