// The traits of mllm_widgets.widgets.EditPanel.

import type { AnyModel } from "@anywidget/types";
import type { WidgetState } from "../lib/state";
import type { WireTensor } from "../lib/tensor";

export interface Said {
  token: string;
  p: number;
}

export type Kind = "edited" | "paraphrase" | "picture" | "same phrase" | "unrelated";

/** A question whose answer is watched; the first one is the question that is edited. */
export interface Probe {
  kind: Kind;
  text: string;
  image: DataView; // a small picture; empty without one
  answer: string; // of the model before
  top: Said[];
}

/** What the list says of an edit. */
export interface EditRow {
  id: number;
  label: string;
  target: string;
  layer: number;
  lam: number; // as it is in the kernel
  applied: boolean;
  baked: boolean; // its change is in the weights
}

/** What is known of an edit: how it was found, and what it does at each lambda. */
export interface Result {
  target: string;
  layer: number;
  reason: string; // why this layer
  warnings: string[];
  reached: number; // P(target) with the value itself in place
  losses: number[];
  chances: number[]; // P(target) at each step
  lams: number[]; // empty until the sweep is there
  probability: WireTensor; // (lambda, question), of the target
  kept: WireTensor; // (lambda, question), of the answer before
  agreement: WireTensor; // (lambda, question), 1 where the first token is the one before
  words: string[];
  said: number; // the target's first token among `words`; -1 if it is never likely
  top: WireTensor; // (lambda, question, rank): indices of `words`
  top_p: WireTensor; // the same: probabilities
  efficacy: number[]; // at each lambda; empty where no question measures it
  generalization: number[];
  specificity: number[];
  leakage: number[];
}

export interface Bars {
  target: string;
  layers: number[];
  reached: number[];
  efficacy: number[];
}

export interface Curve {
  losses: number[];
  chances: number[];
  steps: number; // at most
  target: string;
  layer: number;
}

export interface EditState extends WidgetState {
  question: string;
  span: number[]; // where the constraint stands; empty without one
  image: DataView;
  probes: Probe[];
  layers: number;
  effects: number[]; // of the MLP at the last constraint token, layer by layer
  token: string; // that token
  causal: number; // the layer the trace says; -1 while it is not known
  trace_note: string;
  colors: Record<"light" | "dark", DataView>;
  limit: number; // the end of the colours' scale
  bars: Bars | Record<string, never>;
  curve: Curve | Record<string, never>; // of what is being computed
  rows: EditRow[];
  together: { answer: string; top: Said[] }[]; // with all edits that apply, if there are several; probe by probe
  results: Record<string, Result>; // edit -> what is known of it
  current: number; // the edit looked at; 0 for none
  lam_of: Record<string, number>; // edit -> place on its axis of lambdas
  target: string; // typed in
  layer: number; // picked
  edited: boolean; // is any edit of the panel applied?
  truth: string; // what the model is
  foreign: string; // what else was done to the model
  state: "idle" | "running" | "stopped" | "error";
  doing: "" | "ask" | "value" | "layers" | "effects" | "together";
  progress: number; // 0 to 1; -1 where it is not known
  message: string;
  error: string;
  saved: string;
  name: string; // of the files that are saved
  can_undo: boolean;
  can_redo: boolean;
  head: string;
  code: string;
  received: number;
}

export type EditModel = AnyModel<EditState>;

export type Send = (content: Record<string, unknown>) => void;
