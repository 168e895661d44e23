// Paper has no sliders: print each as five frames, drawn from the state that the page stores.
(() => {
  const FRAMES = 5;
  const id = (reference) => reference.replace("IPY_MODEL_", "");

  // The frames of one view, below what it shows at every position; nothing if nothing moves.
  function frames(state, root, area) {
    const sources = {}; // the slider or menu that each stack follows
    for (const { model_name: kind, state: link } of Object.values(state))
      if (kind === "LinkModel" && link.target[1] === "selected_index")
        sources[id(link.target[0])] = id(link.source[0]);
    const below = (i) => [i, ...(state[i].state.children ?? []).flatMap((c) => below(id(c)))];
    const all = (kind) => below(root).filter((i) => state[i].model_name === kind);
    const sliders = all("SelectionSliderModel");
    if (!sliders.length) return [];
    const menus = [...area.querySelectorAll("select")].map((menu) => menu.selectedIndex);
    const chosen = Object.fromEntries(all("DropdownModel").map((menu, k) => [menu, menus[k]]));
    const moves = (i) => below(i).some((part) => sliders.includes(sources[part]));

    function draw(i, positions) {
      const { model_name: kind, state: own } = state[i];
      const element = document.createElement("div");
      if (kind === "HTMLModel") element.innerHTML = own.value;
      else if (kind === "DropdownModel")
        element.textContent = `${own.description} ${own._options_labels[positions[i]] ?? ""}`;
      else if (kind === "StackModel") {
        const child = own.children[positions[sources[i]] ?? own.selected_index];
        if (child) element.append(draw(id(child), positions));
      } else if (kind.endsWith("BoxModel")) {
        element.style.display = kind === "GridBoxModel" ? "grid" : "flex";
        element.style.flexFlow = kind === "HBoxModel" ? "row wrap" : "column";
        element.append(...own.children.map((child) => draw(id(child), positions)));
      } else return "";
      for (const [name, value] of Object.entries(state[id(own.layout)].state))
        if (typeof value === "string" && !name.startsWith("_"))
          element.style.setProperty(name.replaceAll("_", "-"), value);
      return element;
    }

    const parts = state[root].state.children.map(id);
    const still = parts.filter((i) => !moves(i)).map((i) => draw(i, chosen));
    const shown = Array.from({ length: FRAMES }, (_, frame) => {
      const at = sliders.map((slider) => {
        const last = state[slider].state._options_labels.length - 1;
        return [slider, Math.round((frame * last) / (FRAMES - 1))];
      });
      const positions = { ...chosen, ...Object.fromEntries(at) };
      const { description, _options_labels: labels } = state[sliders[0]].state;
      const caption = `${description} = ${labels[positions[sliders[0]]]}`;
      return figure(caption, parts.filter(moves).map((i) => draw(i, positions)));
    });
    return [...still, grid(shown)];
  }

  function figure(text, contents) {
    const element = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.textContent = text;
    element.append(caption, ...contents);
    return element;
  }

  function grid(figures) {
    const element = document.createElement("div");
    element.className = "mcu-side-by-side";
    element.classList.toggle("wide", figures[0].querySelectorAll("svg[role=img]").length > 3);
    element.append(...figures);
    return element;
  }

  let mode;

  addEventListener("beforeprint", () => {
    mode = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    const stored = document.querySelector('script[type$="widget-state+json"]');
    const { state } = JSON.parse(stored?.textContent ?? '{"state": {}}');
    for (const view of document.querySelectorAll('script[type$="widget-view+json"]')) {
      const area = view.parentElement;
      const shown = frames(state, JSON.parse(view.textContent).model_id, area);
      add(area, shown);
    }
    // The atlas draws itself: show it at five positions of its slider.
    for (const atlas of document.querySelectorAll(".mcu-atlas")) {
      const slider = atlas.querySelector("input[type=range]");
      const { value: before } = slider;
      const move = (to) => {
        slider.value = to;
        slider.dispatchEvent(new Event("input"));
      };
      const shown = Array.from({ length: FRAMES }, (_, frame) => {
        move(Math.round((frame * slider.max) / (FRAMES - 1)));
        const panels = atlas.querySelector(".mcu-panels").cloneNode(true);
        return figure(slider.getAttribute("aria-valuetext"), [panels]);
      });
      move(before);
      const which = [...atlas.querySelectorAll("select")].map((menu) => menu.value).join(" — ");
      add(atlas, [which, grid(shown)]);
    }
  });

  function add(area, shown) {
    const printed = document.createElement("div");
    printed.className = "mcu-printed";
    printed.append(...shown);
    if (shown.length) area.append(printed);
  }

  addEventListener("afterprint", () => {
    document.documentElement.dataset.theme = mode;
    document.querySelectorAll(".mcu-printed").forEach((printed) => printed.remove());
  });
})();
