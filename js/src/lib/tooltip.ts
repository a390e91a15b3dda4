// One tooltip, the same for pointer and keyboard; it stays inside the widget.

import { element, uniqueName } from "./dom";

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

  /** Shows `words` beside a box given in the coordinates of the tooltip's parent. */
  show(words: Words, heading: string, box: { x: number; y: number; width: number; height: number }): void {
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
    const { offsetWidth: width, offsetHeight: height } = this.node;
    const right = box.x + box.width + 10;
    const x = right + width <= room ? right : box.x - width - 10;
    const y = box.y + box.height / 2 - height / 2;
    const fits = x >= 0;
    // no room at either side: below the cell, or above it
    this.node.style.left = `${Math.max(2, Math.min(fits ? x : box.x + box.width / 2 - width / 2, room - width - 2))}px`;
    this.node.style.top = `${Math.max(2, fits ? y : box.y > height + 12 ? box.y - height - 8 : box.y + box.height + 8)}px`;
  }

  hide(): void {
    this.node.hidden = true;
    this.owner.removeAttribute("aria-describedby");
  }
}
