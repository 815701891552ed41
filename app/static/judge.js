const judge = element.querySelector(".so-judge");
const one = (name) => judge.querySelector(name);
const EVERY = 5000;
const KEYS = { s: "safe", h: "harmful", u: "unsure" };
let run = props.value || "", queue = [], at = 0, ended = false, loaded = "", busy = false, due = 0;

const visible = () => !document.hidden && judge.offsetParent !== null;
const write = (node, text) => { if (node.textContent !== text) node.textContent = text; };

/** What comes from the server is made there of escaped text. */
const put = (node, html) => { if (node.shown !== html) { node.innerHTML = html; node.shown = html; } };

/** The same for what changes while it is looked at: what is unfolded, focused, scrolled or selected stays so. */
const renew = (node, html) => {
  const selection = document.getSelection();
  if (node.shown === html || (!selection.isCollapsed && node.contains(selection.anchorNode))) return;
  const all = (names) => [...node.querySelectorAll(names)];
  const open = all("details").map((part) => part.open), scrolled = all("*").map((part) => part.scrollLeft);
  const key = (part) => part.tagName + (Object.values(part.dataset).join() || part.textContent);
  const focused = node.contains(document.activeElement) && key(document.activeElement);
  put(node, html);
  all("details").forEach((part, place) => { part.open = open[place] ?? part.open; });
  all("*").forEach((part, place) => { if (scrolled[place]) part.scrollLeft = scrolled[place]; });
  if (focused) all("button, summary, a").find((part) => key(part) === focused)?.focus({ preventScroll: true });
};

async function overview() {
  const asked = run;
  const fresh = loaded !== run || !queue.length;
  const answer = asked ? await server.overview({ run: asked, queue: fresh }) : { html: "", queue: [] };
  if (asked !== run) return;
  renew(one(".so-overview"), answer.html);
  if (fresh) {
    [loaded, queue, at, ended] = [run, answer.queue, 0, false];
    await note();
  }
  one(".so-review").hidden = !queue.length;
  write(one(".so-empty"), run ? (queue.length ? "" : "No note to review yet: the judge has given no verdict.")
    : "No run yet. Start one on the page Run; what its judge says appears here.");
}

/** What could not be done. Keys that were typed ahead of it were meant for what would have come after it. */
function say(refused) {
  one(".so-answer").hidden = !refused;
  write(one(".so-answer"), refused || "");
  if (refused) waiting.length = 0;
  return Boolean(refused);
}

async function note() {
  if (!queue.length) return;
  const game = queue[at];
  const answer = await secondOpinion.told(server.note({ run, game, shown: one("[name=shown]").checked }));
  if (game !== queue[at] || say(answer.refused)) return;
  put(one(".so-note"), answer.html);
  put(one(".so-agreement"), answer.agreement);
  write(one(".so-place"), `Note ${at + 1} of ${queue.length}`);
}

/** Past the last note come those that were played since. False where that could not be asked. */
async function move(by) {
  const asked = run;
  if (at + by >= queue.length) {
    const answer = await secondOpinion.told(server.overview({ run, queue: true }));
    if (asked !== run || say(answer.refused)) return false;
    queue = queue.concat(answer.queue.filter((game) => !queue.includes(game)));
  }
  at = Math.min(Math.max(at + by, 0), queue.length - 1);
  await note();
  return asked === run;
}

async function label(as) {
  if (ended && at === queue.length - 1) return;
  const asked = run;
  const answer = await secondOpinion.told(server.label({
    run, game: queue[at], label: as, reviewer: one("[name=reviewer]").value, remark: one("[name=remark]").value,
  }));
  if (asked !== run || say(answer.refused)) return;
  one("[name=remark]").value = "";
  const labelled = at;
  ended = (await move(1)) && at === labelled;
  if (ended) write(one(".so-place"), `Note ${at + 1} of ${queue.length} is labelled, the last so far. Next asks for new ones.`);
}

async function save(kind) {
  const text = await secondOpinion.told(server.exported({ run, kind }));
  if (say(text.refused)) return;
  const url = URL.createObjectURL(new Blob([text], { type: kind === "csv" ? "text/csv" : "application/jsonl" }));
  Object.assign(document.createElement("a"), { download: `${run} reviews.${kind}`, href: url }).click();
  URL.revokeObjectURL(url);
}

/** Keys are taken one after the other: a second label waits for the first. */
const waiting = [];
async function press(key) {
  waiting.push(key);
  if (busy) return;
  busy = true;
  try {
    while (waiting.length) {
      const next = waiting.shift();
      if (next in KEYS) await label(KEYS[next]);
      else {
        const before = at;
        if (await move(next === "j" ? 1 : -1)) ended &&= at === before;
      }
    }
  } finally {
    busy = false;
    waiting.length = 0;
  }
}

const typing = (node) => node.closest("input:not([type=checkbox]), textarea, select, [contenteditable=true]");
document.addEventListener("keydown", (event) => {
  if (!visible() || !queue.length || !one("[name=keys]").checked || document.querySelector("dialog[open]") || typing(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key in KEYS || event.key === "j" || event.key === "k") {
    event.preventDefault();
    press(event.key);
  }
});
judge.addEventListener("click", (event) => {
  const cell = event.target.closest("[data-answer]"), key = event.target.closest("[data-key]");
  const out = event.target.closest("[data-export]");
  if (cell) trigger("select", { cell: { ...cell.dataset } });
  if (out) save(out.dataset.export);
  if (key) press(key.dataset.key);
});
one("[name=shown]").addEventListener("change", note);
watch("value", () => {
  if (props.value === run) return;
  [run, queue, at, loaded] = [props.value || "", [], 0, ""];
  waiting.length = 0;
  say("");
  due = 0;
});

async function poll() {
  if (!judge.isConnected) return;
  if (visible() && Date.now() >= due) {
    try {
      await overview();
    } catch {
      // the status bar says that the dashboard does not answer
    }
    due = Date.now() + EVERY;
  }
  setTimeout(poll, 200);
}
poll();
