/** Show the page's widgets without a kernel: their stored state, and the library's own controls. */

import * as base from "@jupyter-widgets/base";
import { ManagerBase } from "@jupyter-widgets/base-manager";
import * as controls from "@jupyter-widgets/controls";
import { MessageLoop } from "@lumino/messaging";
import { Widget } from "@lumino/widgets";
import style from "bundled.css";

const LIBRARIES = { "@jupyter-widgets/base": base, "@jupyter-widgets/controls": controls };
const STATE = 'script[type="application/vnd.jupyter.widget-state+json"]';
const VIEW = 'script[type="application/vnd.jupyter.widget-view+json"]';

class Manager extends ManagerBase {
  async loadClass(name, library) {
    const found = LIBRARIES[library]?.[name];
    if (!found) throw new Error(`${library} has no ${name} that a page can show`);
    return found;
  }

  // Nobody answers: there is no kernel.
  async _create_comm() {
    return { on_close() {}, on_msg() {}, close() {} };
  }

  async _get_comm_info() {
    return {};
  }

  async show(tag) {
    const model = await this.get_model(JSON.parse(tag.textContent).model_id);
    const view = await this.create_view(model);
    const place = document.createElement("div");
    place.className = "widget-subarea";
    tag.before(place);
    Widget.attach(view.luminoWidget, place);
    addEventListener("resize", () =>
      MessageLoop.postMessage(view.luminoWidget, Widget.ResizeMessage.UnknownSize),
    );
  }
}

async function render() {
  document.head.append(Object.assign(document.createElement("style"), { textContent: style }));
  const manager = new Manager();
  const stored = document.querySelectorAll(STATE);
  await Promise.all(Array.from(stored, (tag) => manager.set_state(JSON.parse(tag.textContent))));
  await Promise.all(Array.from(document.querySelectorAll(VIEW), (tag) => manager.show(tag)));
}

if (document.readyState === "loading") addEventListener("DOMContentLoaded", render);
else render();
