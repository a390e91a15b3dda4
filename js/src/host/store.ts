// The models of a page, made from its data when first asked for.

import { facade, Model, type Values } from "./model";
import { bytesOf, type Piece, textOf } from "./pieces";

interface Buffer {
  path: (string | number)[];
  data: Piece;
}

interface Described {
  module: string;
  name: string;
  state: Values;
  texts: Record<string, string>; // trait -> key of a long text
  buffers: Buffer[];
  bundle?: string;
}

/** As mllm_widgets/render/page.py writes it. */
export interface PageData {
  version: number;
  offline: boolean;
  bundles: Record<string, { esm: Piece; css: Piece }>;
  texts: Record<string, Piece>;
  models: Record<string, Described>;
}

/** What a bundle exports. */
export type Bundle = Partial<Record<"initialize" | "render", (props: object) => unknown>>;

const REFERENCE = "IPY_MODEL_";

export class Store {
  private readonly made = new Map<string, Promise<Model>>();
  private readonly imported = new Map<string, Promise<Bundle>>();
  private readonly begun = new Map<Model, Promise<Bundle>>();

  constructor(private readonly data: PageData) {}

  /** The ids of all models of some names. */
  named(...names: string[]): string[] {
    return Object.keys(this.data.models).filter((id) => names.includes(this.data.models[id]?.name ?? ""));
  }

  /** The model with this id, or that a reference such as "IPY_MODEL_1a2b" names. */
  model(reference: unknown): Promise<Model> {
    const id = String(reference).replace(REFERENCE, "");
    const known = this.made.get(id) ?? this.make(id);
    this.made.set(id, known);
    return known;
  }

  /** What the bundle of a model exports, after it has initialized the model; each is loaded once a page, and so is its style sheet. */
  bundle(model: Model): Promise<Bundle> {
    const known = this.begun.get(model) ?? this.begin(model);
    this.begun.set(model, known);
    return known;
  }

  private async make(id: string): Promise<Model> {
    const found = this.data.models[id];
    if (!found) throw new Error("the page was saved without its state");
    const { state, texts, buffers, module, name, bundle } = found;
    for (const [trait, key] of Object.entries(texts)) state[trait] = await textOf(this.data.texts[key] ?? { text: "" });
    for (const { path, data } of buffers) put(state, path, new DataView((await bytesOf(data)).buffer));
    if (module === "anywidget") {
      state.offline = this.data.offline || state.offline; // what only a kernel could do says so
      state.picture_id = ""; // the picture beside a view is the page's own matter
    }
    return new Model(id, module, name, bundle, state);
  }

  private async begin(model: Model): Promise<Bundle> {
    const key = model.bundle ?? "";
    const loading = this.imported.get(key) ?? this.load(key);
    this.imported.set(key, loading);
    const bundle = await loading;
    const { signal } = new AbortController(); // a model lives as long as the page
    await bundle.initialize?.({ model: facade(model, signal), signal });
    return bundle;
  }

  private async load(key: string): Promise<Bundle> {
    const found = this.data.bundles[key];
    if (!found) throw new Error("the page was saved without its program");
    const style = document.createElement("style");
    style.textContent = await textOf(found.css);
    document.head.append(style);
    const url = URL.createObjectURL(new Blob([await textOf(found.esm)], { type: "text/javascript" }));
    try {
      const module = await import(url);
      const named = module.default ?? module;
      return typeof named === "function" ? await named() : named;
    } finally {
      URL.revokeObjectURL(url);
    }
  }
}

/** Put a buffer where it stood in the state. */
function put(state: Values, path: (string | number)[], value: DataView): void {
  let at: Record<string | number, unknown> = state;
  for (const [depth, key] of path.entries()) {
    if (depth === path.length - 1) at[key] = value;
    else {
      at[key] ??= typeof path[depth + 1] === "number" ? [] : {}; // the place of a buffer may have been left out
      at = at[key] as Record<string | number, unknown>;
    }
  }
}
