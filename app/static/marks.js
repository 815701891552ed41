// Fields are left as they are: Gradio would draw one anew that is told anything but its value. A folded section has none.
const LEVELS = ["error", "warning", "changed"];
let marks = {};

const make = (level, text) => Object.assign(document.createElement("p"), { className: `said-${level}`, textContent: text });

function show(field, said) {
  const levels = LEVELS.filter((level) => said.some(([one]) => one === level)).join(" ");
  const shown = JSON.stringify(said);
  if ((field.dataset.said || "[]") === shown) return;
  field.dataset.said = shown;
  field.dataset.mark = levels;
  field.querySelector(":scope > .set-said")?.remove();
  const control = field.querySelector("input, textarea");
  control?.setAttribute("aria-invalid", levels.includes("error"));
  if (!said.length) {
    control?.removeAttribute("aria-describedby");
    return;
  }
  const place = Object.assign(document.createElement("div"), { className: "set-said", id: `${field.id}-said` });
  place.append(...said.map(([level, text]) => make(level, text)));
  field.append(place);
  control?.setAttribute("aria-describedby", place.id);
}

function showAll() {
  const said = Object.fromEntries(Object.entries(marks).map(([key, found]) => ["set-" + key.replace(/[._]/g, "-"), found]));
  for (const field of document.querySelectorAll('.block[id^="set-"]')) {
    show(field, said[field.id] || []);
  }
}

watch("value", () => {
  marks = JSON.parse(props.value || "{}");
  showAll();
});
new MutationObserver(showAll).observe(element.closest('[role="tabpanel"]'), { childList: true, subtree: true });
