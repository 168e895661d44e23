// The widget manager gives slider handles and play buttons no accessible name.
new MutationObserver(() => {
  document.querySelectorAll(".noUi-handle:not([aria-label])").forEach((handle) => {
    handle.setAttribute("aria-label", "position t along the curve");
  });
  document.querySelectorAll(".widget-play button:not([aria-label])").forEach((button, i) => {
    const names = ["play", "stop", "repeat"];
    button.setAttribute("aria-label", button.title || names[i % 3]);
  });
}).observe(document.documentElement, { childList: true, subtree: true });

// It also calls MathJax 2 by name; no widget holds mathematics.
addEventListener("DOMContentLoaded", () => {
  if (window.MathJax) MathJax.Hub = { Queue() {} };
});
