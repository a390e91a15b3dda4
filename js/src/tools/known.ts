// What the toolbar knows of each widget by the name of its bundle, so that the bundle need not hold it: its keys, the traits that a JSON file has,
// and what its controls change of the provenance.

import type { AnyModel } from "@anywidget/types";
import { shown } from "../edit/numbers";
import type { EditModel } from "../edit/state";
import { type Model, onShow } from "../heatmap/state";

export const KEYS: Record<string, [key: string, does: string][]> = {
  trace_heatmap: [
    ["← → ↑ ↓", "go to the next cell"],
    ["Home End", "to the first or last layer; with Ctrl, of the first or last token"],
    ["PageUp PageDown", "ten tokens up or down"],
    ["Enter", "pin the cell, or release it"],
    ["Esc", "release the pinned cell, close the tooltip"],
    ["C", "copy the value"],
    ["M", "switch the sub-block"],
  ],
  patch_grid: [
    ["← → ↑ ↓", "go to the next patch"],
    ["Home End", "to the first or last of the row; with Ctrl, of the picture"],
    ["PageUp PageDown", "the layer before or after"],
    ["Enter", "select the patch, or take it out"],
    ["Shift + ← → ↑ ↓", "select a rectangle"],
    ["T", "select the outlined patches"],
    ["Esc", "select none, close the tooltip"],
    ["C", "copy the values of the selected patches"],
  ],
  edit_panel: [
    ["← →", "layers, λ, Original or Edited: the one before or after"],
    ["Home End", "layers and λ: the first or last"],
    ["Enter", "in the field: try what is typed there"],
    ["Space", "in the list: apply an edit, or take it back"],
  ],
  question_panel: [
    ["← → Home End", "of the question's words: mark another word"],
    ["Shift + ← →", "mark more words"],
    ["Enter", "make the marked words the constraint"],
    ["Backspace", "ask without a constraint"],
    ["Esc", "leave the constraint as it is"],
  ],
  annotator: [
    ["← → Home End", "of the question's words: go to another one"],
    ["Shift + ← →", "take more words"],
    ["V T", "mark them as visual or text constraint, or take that back"],
    ["Space", "mark them as what is chosen"],
    ["A", "accept the suggestion"],
    ["Backspace Delete", "take these marks off, or all"],
    ["Enter", "save, and go on to the next open question"],
    ["PageUp PageDown", "the question before or after"],
    ["X", "say why it cannot be marked"],
  ],
  trials_panel: [["← →", "scroll the effects, or switch the sub-block"]],
  lens_panel: [
    ["↑ ↓", "the layer before or after"],
    ["Home End", "the first or last layer"],
  ],
};

/** Names of traits that go into a file as they are. */
export const TRAITS: Record<string, string> = {
  trace_heatmap: "question answer measure corruption warnings clean corrupted module layers rows selected",
  patch_grid:
    "question target quantity warnings picture_size boxes sinks grids token layer grid scale threshold top_k mask_sinks compare selected",
  edit_panel:
    "question span probes layers effects token causal trace_note bars rows together results current lam_of target layer edited truth foreign",
  question_panel: "question span words answer top notes tab edited",
  annotator: "name question words marks suggested answered reason at total done",
  trials_panel: "layers modules module rows into patches layer",
  lens_panel: "layers positions names words answer token layer top_k",
};

/** What of the provenance is as the controls are: they move with no kernel, which would say so itself. */
// biome-ignore lint/suspicious/noExplicitAny: the models of all widgets
export const MADE: Record<string, (model: AnyModel<any>) => Record<string, unknown>> = {
  trace_heatmap: (model: Model) => ({ window: onShow(model).window }),
  patch_grid: (model) => (model.get("token") < 0 ? {} : { target: model.get("token") }),
  edit_panel: (model: EditModel) => {
    const now = shown(model);
    return now ? { lam: now.result.lams[now.at] } : {};
  },
};
