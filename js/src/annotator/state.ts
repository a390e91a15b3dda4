// The traits of mw.ConstraintAnnotator (mllm_widgets.widgets.annotator.traits).

import type { AnyModel } from "@anywidget/types";
import type { Word } from "../explorer/state";
import type { WidgetState } from "../lib/state";

export type Kind = "visual" | "text";
export type Mark = Kind | "";

export interface AnnotatorState extends WidgetState {
  generation: number; // counts the questions shown
  name: string;
  at: number; // from 0
  total: number;
  done: number;
  question: string;
  words: Word[];
  image: DataView;
  trouble: string; // why there is no picture
  marks: Mark[]; // of each word
  answered: "" | "marked" | "skipped" | "changed";
  reason: string; // why it cannot be marked
  suggested: Mark[];
  suggesting: "off" | "running" | "done" | "error";
  hint: string;
  file: string;
  saved: "" | "saved" | "not saved";
  error: string;
  received: number; // id of the last message that the kernel heard
}

export type AnnotatorModel = AnyModel<AnnotatorState>;

export const KINDS: { key: Kind; name: string; letter: string }[] = [
  { key: "visual", name: "Visual constraint", letter: "V" },
  { key: "text", name: "Text constraint", letter: "T" },
];
