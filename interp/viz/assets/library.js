"use strict";
// The libraries of a notebook's figures and views, loaded when the first of them is drawn. They are kept packed (gzip in
// base64) as window.interpPacked, either here or on the page around this frame, where interp.viz.setup_notebook() puts them.
(() => {
  const LIBRARIES = { plotly: "plotly.js", circuitsvis: "CircuitsVis" };
  const loaded = {};

  const around = () => {
    try {
      return window.parent.interpPacked;
    } catch {
      return undefined; // a page of another origin
    }
  };

  // Outputs of a notebook need not appear in their order: wait a little for the one that holds the libraries.
  const find = async (name) => {
    for (const deadline = performance.now() + 10000; performance.now() < deadline; ) {
      const packed = window.interpPacked?.[name] || around()?.[name];
      if (packed) return packed;
      await new Promise((done) => setTimeout(done, 100));
    }
    const again = "run the cell with interp.viz.setup_notebook() once more, then this one";
    throw new Error(`${LIBRARIES[name]} is not on this page; ${again}.`);
  };

  const load = async (name) => {
    const bytes = Uint8Array.from(atob(await find(name)), (letter) => letter.charCodeAt(0));
    const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(unpacked).text();
    document.head.append(script);
  };

  window.interpLibrary = (name) => (name in LIBRARIES ? (loaded[name] ??= load(name)) : undefined);
})();
