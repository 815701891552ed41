/** What a server function said. Gradio answers undefined where it failed or nobody was there: that is a refusal too. */
secondOpinion.told = async (answer) => (await answer)
  ?? { refused: "The dashboard could not do this, or did not answer; what went wrong is printed where it was started. Try again." };

/** What the dashboard says beside Gradio. Errors: it refused, or did not answer. */
secondOpinion.asked = async (what, wish, signal) => {
  const answer = await fetch(`second-opinion/${what}`, { method: "POST", body: JSON.stringify(wish), signal });
  if (!answer.ok) throw new Error(`${answer.url}: ${answer.status}`);
  return answer.json();
};

// Runs before the rest of the page has come: the first points are on their way while scripts are still read, and Gradio,
// whose eighty files and whose page keep browser and dashboard busy for seconds, comes after the first curve.
(({ run, tab, plots }) => {
  if (tab !== "live" || !run) return;
  const wish = { run, board: "live", since: { [plots.live[0].id]: -1 }, smoothing: 0.6, axis: "step" };
  secondOpinion.points = secondOpinion.asked("points", wish);
  secondOpinion.goOn = () => {
    for (const later of document.querySelectorAll('script[type="later"]')) {
      const script = document.createElement("script");
      Object.assign(script, { type: "module", crossOrigin: "", src: later.src });
      later.replaceWith(script);
    }
  };
  setTimeout(secondOpinion.goOn, 2000); // also if nothing could be drawn
})(secondOpinion.first);
