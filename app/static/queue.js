const panel = element.querySelector(".so-queue");
const rows = panel.querySelector("tbody");
const answer = panel.querySelector("[role=alert]");
let drawn = "";

const cell = (...inside) => {
  const made = document.createElement("td");
  made.append(...inside);
  return made;
};

function button(verb, row, act, idle) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = verb;
  made.disabled = idle;
  made.dataset.key = `${verb} ${row.run}`;
  made.setAttribute("aria-label", `${verb}: ${row.run}`);
  made.addEventListener("click", () => tell(act));
  return made;
}

function draw(waiting) {
  const text = JSON.stringify(waiting);
  if (text === drawn) return;
  drawn = text;
  const focused = panel.contains(document.activeElement) ? document.activeElement.dataset.key : "";
  panel.hidden = !waiting.length;
  rows.replaceChildren(...waiting.map((row) => {
    const made = document.createElement("tr");
    const buttons = cell(
      button("up", row, () => server.move({ run: row.run, place: row.place - 1 }), row.place === 1),
      button("down", row, () => server.move({ run: row.run, place: row.place + 1 }), row.place === waiting.length),
      button("withdraw", row, () => server.withdraw({ run: row.run }), false),
    );
    const since = new Date(row.since * 1000).toLocaleString();
    made.append(cell(String(row.place)), cell(row.run), cell(row.name), cell(row.line), cell(since), buttons);
    return made;
  }));
  const again = [...rows.querySelectorAll("button")].find((one) => one.dataset.key === focused);
  if (again) (again.disabled ? again.parentElement.querySelector("button:enabled") : again).focus();
}

async function tell(act) {
  const refused = (await secondOpinion.told(act())).refused || "";
  answer.hidden = !refused;
  answer.textContent = refused;
  const waiting = await server.waiting({});
  if (waiting) draw(waiting);
}

async function poll() {
  if (!panel.isConnected) return;
  if (!document.hidden && element.offsetParent !== null) {
    try {
      draw(await server.waiting({}));
    } catch {
      // the status bar says that the dashboard is lost
    }
  }
  setTimeout(poll, 2000);
}
poll();
