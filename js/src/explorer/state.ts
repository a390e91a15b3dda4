// The traits of the Explorer's own panels (mllm_widgets.widgets.explorer: question_panel, trials_panel, lens_panel).

import type { AnyModel } from "@anywidget/types";
import type { WidgetState } from "../lib/state";

export interface Word {
  text: string;
  start: number; // characters of the question, counted as code points
  end: number;
}

export interface QuestionState extends WidgetState {
  generation: number; // counts the questions asked
  question: string;
  span: number[]; // where the constraint stands; empty without one
  words: Word[];
  pictured: boolean; // does another view show the picture?
  image: DataView;
  answer: string;
  top: { token: string; p: number }[];
  notes: string[]; // why a view is not there
  state: "idle" | "running" | "stopped" | "error";
  message: string;
  error: string;
  can_undo: boolean;
  can_redo: boolean;
  tab: "look" | "edit";
  editable: boolean; // has the question a constraint, at which it can be edited?
  editing: boolean; // does the edit panel stand beside the views, so that a tab is a matter of style?
  edited: string; // what edits the model has that the views are of
  takes_pictures: boolean;
  head: string; // code that loads the model and asks
  code: string; // code that computes what is on show
  received: number; // id of the last message that the kernel heard
}

export interface TrialRow {
  id: number;
  kind: "trace" | "block";
  label: string;
  patches: number[];
  state: "waiting" | "running" | "done" | "error";
  note: string;
  effects: Record<string, number[]>; // module, or "change" -> a number for each layer
  all: number | null; // blocked in all layers at once
}

export interface TrialsState extends WidgetState {
  layers: number;
  modules: { key: string; name: string }[];
  module: string;
  rows: TrialRow[];
  limit: number;
  colors: Record<"light" | "dark", DataView>;
  into: string; // what looks at the patches
  received: number;
  patches: number[];
  layer: number;
}

export interface LensState extends WidgetState {
  layers: number[];
  positions: number[];
  names: string[];
  words: { word: string; p: number }[][][]; // position, layer, rank
  answer: string;
  token: number;
  layer: number;
  top_k: number;
}

export type QuestionModel = AnyModel<QuestionState>;
export type TrialsModel = AnyModel<TrialsState>;
export type LensModel = AnyModel<LensState>;
