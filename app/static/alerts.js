const panel = element.querySelector(".so-alerts");
const time = (seconds) => (seconds === null ? "still so" : new Date(1000 * seconds).toLocaleString());

function row(alert) {
  const made = document.createElement("tr");
  made.className = alert.cleared === null ? "so-open" : "";
  for (const text of [alert.text, alert.step, time(alert.raised), time(alert.cleared)]) {
    made.append(Object.assign(document.createElement("td"), { textContent: text, dir: "auto" }));
  }
  const link = Object.assign(document.createElement("a"), { href: alert.link, textContent: "Show" });
  link.setAttribute("aria-label", `Show what tells of: ${alert.kind}, step ${alert.step}`);
  made.append(document.createElement("td"));
  made.lastChild.append(link);
  return made;
}

function show() {
  if (!panel.isConnected) return document.removeEventListener("so-alerts", show);
  const alerts = window.secondOpinionAlerts || [];
  panel.hidden = !alerts.length;
  panel.querySelector("tbody").replaceChildren(...alerts.map(row));
}

/** A link to a plot: scrolled to once it is there, and again while the plots above it are drawn, until somebody scrolls. */
function lead(name, left = 40) {
  const figure = document.querySelector(`.so-figure-${name}`), there = figure && figure.offsetParent;
  if (there) figure.scrollIntoView({ block: "center" });
  if (left && leading) setTimeout(lead, 250, name, Math.min(left - 1, there ? 12 : 40));
}

let leading = true;
for (const event of ["wheel", "keydown", "pointerdown", "touchmove"]) {
  document.addEventListener(event, () => { leading = false; }, { once: true, passive: true });
}

document.addEventListener("so-alerts", show);
show();
const plot = new URLSearchParams(location.search).get("plot") || "";
if (/^[a-z]+$/.test(plot)) lead(plot);
