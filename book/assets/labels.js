// The widget manager gives slider handles and play buttons no accessible name, and slider
// handles the number of the frame for a value where the readout shows t.
new MutationObserver(() => {
  document.querySelectorAll(".noUi-handle").forEach((handle) => {
    const readout = handle.closest(".widget-inline-hbox")?.querySelector(".widget-readout");
    const wanted = { "aria-label": "position t along the curve" };
    if (readout) wanted["aria-valuetext"] = `t = ${readout.textContent}`;
    for (const [name, value] of Object.entries(wanted))
      if (handle.getAttribute(name) !== value) handle.setAttribute(name, value);
  });
  document.querySelectorAll(".widget-play button:not([aria-label])").forEach((button, i) => {
    const names = ["play", "stop", "repeat"];
    button.setAttribute("aria-label", button.title || names[i % 3]);
  });
}).observe(document.documentElement, { childList: true, subtree: true, attributeFilter: ["aria-valuetext"] });

// The theme's own names hide the text that these show.
document
  .querySelectorAll(".search-button-field[aria-label], summary[aria-label]")
  .forEach((element) => element.removeAttribute("aria-label"));

// The bibliography calls itself a list, and its entries something else than items.
document
  .querySelectorAll(".citation-list[role=list]")
  .forEach((list) => list.removeAttribute("role"));
