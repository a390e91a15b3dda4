// The page of widgets that needs no Jupyter, no kernel and no network: brings the models of its data to life and shows their views.
//
// A page has a <script type="application/json" class="mw-data"> and, for each view, an element with data-mw-view="(id of a model)" that
// holds the view's picture.  The picture goes when the view has come, and stays where it could not.

import { tie } from "./host/links";
import { type PageData, Store } from "./host/store";
import { view } from "./host/views";
import "./host.css";

async function show(): Promise<void> {
  const data = document.querySelector("script.mw-data");
  const store = new Store(JSON.parse(data?.textContent ?? "{}") as PageData);
  await tie(store);
  const mounts = [...document.querySelectorAll<HTMLElement>("[data-mw-view]")];
  for (const mount of mounts) await fill(store, mount);
  document.documentElement.dataset.mwReady = String(mounts.length);
}

async function fill(store: Store, mount: HTMLElement): Promise<void> {
  const picture = mount.querySelector<HTMLElement>("figure");
  const failed = () => {
    mount.dataset.mwFailed = "true";
    if (picture) picture.hidden = false;
  };
  const node = await view({ store, failed }, mount.dataset.mwView, new AbortController().signal);
  mount.prepend(node);
  if (picture) picture.hidden = mount.dataset.mwFailed !== "true";
}

/** In a frame: tell the page around it how high it is, so that it need not scroll. */
function tellHeight(): void {
  if (window.parent === window) return;
  const tell = () => window.parent.postMessage({ mllm_widgets: "height", height: document.body.offsetHeight }, "*");
  new ResizeObserver(tell).observe(document.body);
  tell();
}

void show().then(tellHeight);
