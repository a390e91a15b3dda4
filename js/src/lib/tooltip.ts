// One tooltip, the same for pointer and keyboard; it stays inside the widget.

import { element, uniqueName } from "./dom";
import { type Box, place } from "./place";

/** What there is to say about one place. */
export interface Words {
  title: string;
  lines: [name: string, value: string][];
  note: string;
}

export class Tooltip {
  readonly node = element("div", { class: "mw-tooltip", role: "tooltip", id: uniqueName("tooltip"), hidden: true });

  /** `owner` is what the tooltip describes, for who cannot see that it stands beside it. */
  constructor(private readonly owner: HTMLElement) {}

  /** Shows `words` beside a box, and where possible not over another one: both in the coordinates of the tooltip's parent. */
  show(words: Words, heading: string, box: Box, avoid?: Box): void {
    const list = element("dl");
    for (const [name, value] of words.lines) list.append(element("dt", {}, name), element("dd", {}, value));
    this.node.replaceChildren(
      element("strong", {}, heading),
      element("div", {}, words.title),
      ...(words.lines.length ? [list] : []),
      ...(words.note ? [element("em", {}, words.note)] : []),
    );
    this.node.hidden = false;
    this.owner.setAttribute("aria-describedby", this.node.id);
    const room = this.node.offsetParent?.clientWidth ?? 400;
    const { x, y } = place({ width: this.node.offsetWidth, height: this.node.offsetHeight }, box, room, avoid);
    this.node.style.left = `${x}px`;
    this.node.style.top = `${y}px`;
  }

  hide(): void {
    this.node.hidden = true;
    this.owner.removeAttribute("aria-describedby");
  }
}
