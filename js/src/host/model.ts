// A widget's traits without a kernel: what is set is kept and told to those who listen, and goes nowhere else.

import { equal } from "./equal";

export type Values = Record<string, unknown>;
type Listener = (...args: unknown[]) => void;

export class Model {
  private readonly listeners = new Map<string, Set<Listener>>();

  constructor(
    readonly id: string,
    readonly module: string, // such as "anywidget" or "@jupyter-widgets/controls"
    readonly name: string, // such as "AnyModel" or "HBoxModel"
    readonly bundle: string | undefined, // which of the page's bundles draws it
    private readonly values: Values,
  ) {}

  get(name: string): unknown {
    return this.values[name];
  }

  /** The traits that have a value. */
  names(): string[] {
    return Object.keys(this.values);
  }

  set(names: string | Values, value?: unknown): void {
    const given = typeof names === "string" ? { [names]: value } : names;
    const news = Object.entries(given).filter(([name, to]) => !equal(this.values[name], to));
    for (const [name, to] of news) this.values[name] = to;
    for (const [name, to] of news) this.tell(`change:${name}`, this, to);
    if (news.length) this.tell("change", this);
  }

  on(name: string, listener: Listener): void {
    const known = this.listeners.get(name) ?? new Set();
    this.listeners.set(name, known.add(listener));
  }

  off(name: string, listener: Listener): void {
    this.listeners.get(name)?.delete(listener);
  }

  private tell(name: string, ...args: unknown[]): void {
    for (const listener of [...(this.listeners.get(name) ?? [])]) listener(...args);
  }
}

/** The model as an anywidget bundle knows it; what it listens to ends with `signal`. */
export function facade(model: Model, signal: AbortSignal) {
  const own: [string, Listener][] = [];
  const forget = (gone: (name: string, listener: Listener) => boolean) => {
    for (const one of own.splice(0)) {
      if (gone(...one)) model.off(...one);
      else own.push(one);
    }
  };
  signal.addEventListener("abort", () => forget(() => true));
  return {
    get: (name: string) => model.get(name),
    set: (names: string | Values, value?: unknown) => model.set(names, value),
    on(name: string, listener: Listener) {
      if (signal.aborted) return;
      own.push([name, listener]);
      model.on(name, listener);
    },
    off(name?: string | null, listener?: Listener | null) {
      forget((of, known) => (!name || name === of) && (!listener || listener === known));
    },
    save_changes() {}, // nobody to save them for
    send() {}, // nobody to answer
  };
}
