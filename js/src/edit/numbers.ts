// What the numbers of an edit say at one lambda.  Pure.

import { decode } from "../lib/tensor";
import type { EditModel, Kind, Result, Said } from "./state";

/** Questions that the edit should change, and questions that it should leave alone. */
export const WANTED: Kind[] = ["edited", "paraphrase", "picture"];

const KINDS: Record<Kind, string> = {
  edited: "the edited question",
  paraphrase: "other words",
  picture: "other picture of it",
  "same phrase": "same words, another thing",
  unrelated: "unrelated",
};

export function kindName(kind: Kind): string {
  return KINDS[kind];
}

export const LINES = [
  ["efficacy", "efficacy", "P(target) on the edited question"],
  ["generalization", "generalization", "mean P(target) on other words and other pictures of the same thing"],
  ["specificity", "specificity", "share of unrelated questions whose answer stays"],
  ["leakage", "same-phrase leakage", "mean P(target) where the same words point at another thing"],
] as const;

/** Reads the sweep of one edit. */
export class Sweep {
  readonly count: number;
  private readonly questions: number;
  private readonly ranks: number;
  private readonly numbers: Record<"probability" | "kept" | "agreement" | "top" | "top_p", ArrayLike<number>>;

  constructor(private readonly result: Result) {
    this.count = result.lams.length;
    this.questions = result.probability.shape[1] ?? 0;
    this.ranks = result.top.shape[2] ?? 0;
    this.numbers = {
      probability: decode(result.probability),
      kept: decode(result.kept),
      agreement: decode(result.agreement),
      top: decode(result.top),
      top_p: decode(result.top_p),
    };
  }

  /** P(target). */
  probability(lam: number, question: number): number {
    return this.numbers.probability[lam * this.questions + question] ?? Number.NaN;
  }

  /** P of the answer before. */
  kept(lam: number, question: number): number {
    return this.numbers.kept[lam * this.questions + question] ?? Number.NaN;
  }

  agrees(lam: number, question: number): boolean {
    return this.numbers.agreement[lam * this.questions + question] === 1;
  }

  /** Is the target's first token the likeliest? */
  saysTarget(lam: number, question: number): boolean {
    return this.numbers.top[(lam * this.questions + question) * this.ranks] === this.result.said;
  }

  /** The likeliest first tokens, best first. */
  top(lam: number, question: number): Said[] {
    const start = (lam * this.questions + question) * this.ranks;
    return Array.from({ length: this.ranks }, (_, rank) => ({
      token: this.result.words[this.numbers.top[start + rank] ?? -1] ?? "",
      p: this.numbers.top_p[start + rank] ?? Number.NaN,
    }));
  }
}

/** The edit looked at, with its place on the axis of lambdas; nothing before there is one whose sweep is known. */
export function shown(model: EditModel): { result: Result; at: number } | undefined {
  const result = model.get("results")[String(model.get("current"))];
  if (!result?.lams.length) return undefined;
  const at = model.get("lam_of")[String(model.get("current"))] ?? 0;
  return { result, at: Math.max(0, Math.min(result.lams.length - 1, at)) };
}

/** A lambda: three figures, powers of ten where it is large or small. */
export function lamName(lam: number): string {
  if (lam === 0) return "0";
  if (lam >= 1e-3 && lam < 1e4) return String(Number(lam.toPrecision(3)));
  const [digits = "", power = ""] = lam.toExponential(1).split("e");
  return `${digits}e${power.replace("-", "−").replace("+", "")}`;
}

/** The place on an axis nearest to a share of its length. */
export function nearest(share: number, count: number): number {
  return Math.max(0, Math.min(count - 1, Math.round(share * (count - 1))));
}

/** What an edit does to a question at one lambda, in a word; measure.py says the same. */
export function verdict(sweep: Sweep, kind: Kind, lam: number, question: number): { good: boolean; text: string } {
  const target = sweep.saysTarget(lam, question);
  if (WANTED.includes(kind)) return target ? { good: true, text: "changed" } : { good: false, text: "not changed" };
  if (sweep.agrees(lam, question)) return { good: true, text: "kept" };
  return { good: false, text: target ? "leaks" : `now ${word(sweep.top(lam, question)[0])}` };
}

/** A token without the mark of its leading space. */
export function word(said: Said | undefined): string {
  return (said?.token ?? "").replace(/^·/, "");
}
