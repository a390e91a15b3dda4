// jslink and jsdlink: two traits that follow each other, as ipywidgets ties them in the browser.

import type { Model } from "./model";
import type { Store } from "./store";

type End = [reference: string, trait: string];

/** Tie what the page's links tie.  A link whose end the page does not have ties nothing. */
export async function tie(store: Store): Promise<void> {
  for (const id of store.named("LinkModel", "DirectionalLinkModel")) {
    const link = await store.model(id);
    const [from, to] = [await end(store, link.get("source")), await end(store, link.get("target"))];
    if (!from || !to) continue;
    follow(from, to);
    if (link.name === "LinkModel") follow(to, from);
    to.model.set(to.trait, from.model.get(from.trait));
  }
}

interface Place {
  model: Model;
  trait: string;
}

async function end(store: Store, pair: unknown): Promise<Place | undefined> {
  const [reference, trait] = pair as End;
  const model = await store.model(reference).catch(() => undefined);
  return model && { model, trait };
}

function follow(from: Place, to: Place): void {
  from.model.on(`change:${from.trait}`, () => to.model.set(to.trait, from.model.get(from.trait)));
}
