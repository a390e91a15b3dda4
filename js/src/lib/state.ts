// The traits of every widget: those of mllm_widgets.widgets.base.Widget, and its version.

export interface WidgetState {
  version: number;
  picture_id: string;
  provenance: Record<string, unknown>;
  offline: boolean;
  snapshots: number;
  taken: number;
  refused: string; // why the last snapshot that was asked for could not be taken
  outputs: number;
  tools: string;
}
