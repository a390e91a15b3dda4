// The keys of each widget, by the name of its bundle.

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
  trials_panel: [["← →", "scroll the effects, or switch the sub-block"]],
  lens_panel: [
    ["↑ ↓", "the layer before or after"],
    ["Home End", "the first or last layer"],
  ],
};
