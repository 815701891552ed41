const section = element.querySelector(".so-latest");
const list = section.querySelector("ul");
let run = props.value || "", wanted = false, busy = false, drawn = "";

/** A line that somebody is at stays: the next news brings what came meanwhile. */
const held = () => list.contains(document.activeElement) || (!document.getSelection().isCollapsed && list.contains(document.getSelection().anchorNode));

async function show() {
  wanted = true;
  if (busy) return;
  busy = true;
  while (wanted) {
    wanted = false;
    const asked = run;
    const html = await secondOpinion.asked("latest", { run: asked }).then((answer) => answer.html, () => undefined); // asked again with the next news
    if (html === undefined || asked !== run || html === drawn || (drawn && held())) continue;
    section.hidden = !html;
    list.innerHTML = drawn = html; // made of escaped text
  }
  busy = false;
}

function news() {
  if (!section.isConnected) document.removeEventListener("so-news", news);
  else if (element.offsetParent !== null) show();
}

document.addEventListener("so-news", news);
watch("value", () => {
  if (props.value === run) return;
  [run, drawn] = [props.value || "", ""];
  show();
});
if (run) show();
