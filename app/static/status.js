const bar = element.querySelector(".so-status");
const one = (name) => bar.querySelector(name);
const every = { shown: 1000, lost: 2000 };
let run = props.value || "";
let listed = "";
let last = null;
let alarmed = "";
const TITLE = "Second Opinion";

/** True if the text is a new one. A text that stays is left alone: it may be selected. */
function write(node, text) {
  const changed = node.textContent !== text;
  if (changed) node.textContent = text;
  return changed;
}

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}
const size = (mb) => (mb < 1024 ? `${Math.round(mb)} MB` : `${(mb / 1024).toFixed(1)} GB`);
const number = (value) => (value < 10 ? value.toFixed(1) : Math.round(value).toString());

function facts(now) {
  const found = [now.steps ? `step ${now.step} of ${now.steps}` : `step ${now.step}`];
  if (now.seconds_left !== null && now.running) found.push(`${duration(now.seconds_left)} left`);
  if (now.seconds_a_step !== null) found.push(`${number(now.seconds_a_step)} s a step`);
  if (now.memory_mb !== null) found.push(`memory ${size(now.memory_mb)}`);
  found.push(`disk ${size(now.disk_free_mb)} free`);
  if (now.no_verdict !== null) {
    found.push(now.no_verdict ? `judge: no verdict on ${(100 * now.no_verdict).toFixed(1)} %` : "judge: all verdicts");
  }
  if (now.attempt > 1) found.push(`start ${now.attempt}`);
  if (now.bad_lines) found.push(`${now.bad_lines} bad line${now.bad_lines > 1 ? "s" : ""}`);
  if (now.place !== null) found.push(now.place === 1 ? "next in the queue" : `place ${now.place} in the queue`);
  if (now.stop_wish === "checkpoint") found.push("stops after the next checkpoint");
  if (now.state === "stalled") found.push(`nothing printed for ${duration(now.silent_seconds)}`);
  if (now.left_over.length) found.push(`still alive: ${now.left_over.join(", ")}`);
  return found;
}

function show(now) {
  const state = now ? now.state : "none";
  bar.dataset.state = state;
  bar.dataset.step = now ? now.step : 0;
  bar.dataset.run = now ? now.run : "";
  write(one(".so-state"), now ? state : "no run yet");
  const line = now ? facts(now) : [];
  if (JSON.stringify(line) !== JSON.stringify(last)) {
    one(".so-facts").replaceChildren(...line.map((text) => Object.assign(document.createElement("span"), { textContent: text })));
    last = line;
  }
  one("progress").value = now && now.steps ? now.step / now.steps : 0;
  one(".so-stop").disabled = !(now && now.running) || now.stop_wish === "now";
  one(".so-resume").hidden = !(now && now.can_resume);
  const failed = state === "crashed" || state === "stalled";
  one(".so-ended").hidden = !(failed || state === "stopped" || state === "unreadable");
  write(one(".so-reason"), (now && now.reason) || "");
  one(".so-tail").hidden = !failed;
  const end = failed ? now.last_lines.join("\n") : "";
  if (write(one(".so-tail"), end)) one(".so-tail").scrollTop = one(".so-tail").scrollHeight;
  const saves = now && now.checkpoint_every;
  one('[data-when="checkpoint"]').disabled = !saves;
  write(one(".so-hint"), saves
    ? `A checkpoint is written every ${saves} steps; a run that stopped after one can be resumed from it. ` +
      "Stopped now, it goes back to the newest checkpoint."
    : "This run saves no checkpoints: stopped now, it cannot be resumed.");
}

/** What is wrong now: in the bar, in the browser's title, and for whoever listens on the page. */
function alarm(alerts) {
  const open = alerts.filter((one) => one.cleared === null);
  const key = JSON.stringify(alerts.map((one) => [one.id, one.cleared]));
  document.title = open.length ? `(${open.length}) ${open[0].kind} · ${TITLE}` : TITLE;
  if (key === alarmed) return;
  alarmed = key;
  const items = open.map((one) => {
    const item = document.createElement("li");
    const link = Object.assign(document.createElement("a"), { href: one.link, textContent: "Show" });
    link.setAttribute("aria-label", `Show what tells of: ${one.kind}`);
    item.append(Object.assign(document.createElement("span"), { textContent: one.text, dir: "auto" }), " ", link);
    return item;
  });
  one(".so-alarms").hidden = !open.length;
  one(".so-alarms ul").replaceChildren(...items);
  window.secondOpinionAlerts = alerts;
  document.dispatchEvent(new CustomEvent("so-alerts"));
}

function list(runs) {
  const options = runs.map((row) => {
    const option = document.createElement("option");
    option.value = row.run;
    option.textContent = [row.run, row.name, row.state].filter(Boolean).join(" · ");
    return option;
  });
  if (!runs.length) options.push(new Option("no runs yet", ""));
  one(".so-run select").replaceChildren(...options);
}

function say(text) {
  one(".so-answer").hidden = !text;
  write(one(".so-answer"), text || "");
}

async function look() {
  const asked = run;
  const answer = await secondOpinion.asked("status", { run: asked, listed });
  one(".so-lost").hidden = true;
  if (answer.runs) {
    listed = answer.key;
    list(answer.runs);
  }
  if (asked !== run) return;
  show(answer.status);
  alarm(answer.alerts);
  one(".so-run select").value = run;
}

/** How long to wait before the next look. */
async function tryToLook() {
  try {
    await look();
    return every.shown;
  } catch {
    one(".so-lost").hidden = false;
    write(one(".so-lost"), "This page has lost the dashboard. The run is not affected: it goes on without it. Trying again.");
    return every.lost;
  }
}

async function poll() {
  if (!bar.isConnected) return;
  setTimeout(poll, document.hidden ? every.shown : await tryToLook());
}

function choose(id) {
  run = id;
  tryToLook();
}

async function act(verb) {
  say((await secondOpinion.told(verb)).refused);
  tryToLook();
}

watch("value", () => { if (props.value !== run) choose(props.value || ""); });
one(".so-run select").addEventListener("change", (event) => {
  choose(event.target.value);
  trigger("select", { run });
});
one(".so-stop").addEventListener("click", () => one("dialog").showModal());
one("dialog").addEventListener("click", (event) => {
  const when = event.target.dataset.when;
  if (when === undefined) return;
  one("dialog").close();
  if (when) act(server.stop({ run, when }));
});
one(".so-resume").addEventListener("click", async () => {
  one(".so-resume").disabled = true;
  await act(server.resume({ run }));
  one(".so-resume").disabled = false;
});

const theme = one(".so-theme select");
const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = () => document.body.classList.toggle("dark", theme.value === "dark" || (theme.value === "system" && dark.matches));
theme.value = localStorage.getItem("second-opinion-theme") || "system";
theme.addEventListener("change", () => { localStorage.setItem("second-opinion-theme", theme.value); paint(); });
dark.addEventListener("change", paint);
paint();
poll();
