"use strict";
// Draws the views of a page, each when it comes near the window: a page of thirty figures opens at once.
// A view is <div data-draw="painter" id="X"></div> with its data in <script type="application/json" id="X-data">.
(() => {
  const PLOTLY_CONFIG = {
    responsive: true,
    displayModeBar: "hover",
    displaylogo: false,
    showSendToCloud: false, // by default a button uploads the chart
    plotlyServerURL: "",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    toImageButtonOptions: { format: "svg", filename: "figure" },
  };
  const painters = {};
  let stages = 0;

  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  // One <select> per chooser ("layer", "prompt"); calls show(index into pages) at once and on every change.
  const choosers = (view, names, show) => {
    const bar = element("div", "choosers");
    const selects = names.map(([name, labels]) => {
      const label = element("label", "", name + " ");
      const select = element("select");
      labels.forEach((text, i) => select.add(new Option(text, i)));
      label.append(select);
      bar.append(label);
      return select;
    });
    const update = () => show(selects.reduce((index, s, i) => index * names[i][1].length + s.selectedIndex, 0));
    selects.forEach((select) => select.addEventListener("change", update));
    if (selects.length) view.append(bar);
    return update;
  };

  // React draws later and tells nobody: wait until something stands in the stage. After an error on the page, which is
  // how React reports a component that failed, a moment more is enough.
  const filled = (stage) =>
    new Promise((done, failed) => {
      let deadline = performance.now() + 20000;
      let reason = "nothing was drawn";
      const note = (event) => {
        deadline = Math.min(deadline, performance.now() + 1000);
        reason = event.message || reason;
      };
      window.addEventListener("error", note);
      const end = (settle, value) => (window.removeEventListener("error", note), settle(value));
      const look = () => {
        if (stage.firstElementChild) return end(done);
        if (performance.now() > deadline) return end(failed, new Error(reason));
        setTimeout(look, 30);
      };
      look();
    });

  painters.plotly = (view, { data, layout }) => Plotly.newPlot(view, data, layout, PLOTLY_CONFIG);

  // React takes over the element it renders into, so every change of page gets a new one.
  painters.circuitsvis = (view, { component, choosers: names, pages }) => {
    const body = element("div", "pages");
    let drawn = Promise.resolve();
    const show = (index) => {
      body.replaceChildren();
      const made = pages[index].map(({ label, props }) => {
        if (label) body.append(element("div", "label", label));
        const stage = element("div", "stage " + component);
        stage.id = "stage-" + stages++;
        body.append(stage);
        CircuitsVis.render(stage.id, CircuitsVis[component], props);
        return filled(stage);
      });
      drawn = Promise.all(made);
    };
    const update = choosers(view, names, show);
    view.append(body);
    update();
    return drawn;
  };

  const paint = async (view) => {
    view.dataset.state = "drawing";
    try {
      const data = JSON.parse(document.getElementById(view.id + "-data").textContent);
      if (window.interpLibrary) await window.interpLibrary(view.dataset.draw); // in a notebook, see library.js
      view.replaceChildren();
      await painters[view.dataset.draw](view, data);
      view.dataset.state = "drawn";
      setTimeout(fit, 300); // charts take their final size a few frames after they appear
    } catch (error) {
      view.dataset.state = "failed";
      view.append(element("p", "failed", "This view could not be drawn: " + error.message));
      console.error(error);
    }
  };
  const begun = new WeakMap();
  const draw = (view) => {
    if (!begun.has(view)) begun.set(view, paint(view));
    return begun.get(view);
  };

  // In a notebook the page sits in a frame: the frame grows to what was drawn, and never shrinks, so that charts which
  // follow their frame's size cannot chase it.
  const fit = () => {
    try {
      const frame = window.frameElement;
      if (frame && frame.clientHeight < document.documentElement.scrollHeight)
        frame.style.height = document.documentElement.scrollHeight + 8 + "px";
    } catch {
      // a frame of another origin keeps the height it was given
    }
  };

  const views = () => [...document.querySelectorAll("[data-draw]")];

  // Frames of a notebook wait until they are scrolled to.
  const drawFrame = async (frame) => {
    frame.loading = "eager";
    while (!frame.contentWindow?.interpViews) await new Promise((done) => setTimeout(done, 50));
    await frame.contentWindow.interpViews.drawAll();
  };
  const frames = () => [...document.querySelectorAll("iframe[data-interp]")];
  const drawAll = () => Promise.all([...views().map(draw), ...frames().map(drawFrame)]);

  const near = new IntersectionObserver(
    (entries) => entries.filter((e) => e.isIntersecting).forEach((e) => (near.unobserve(e.target), draw(e.target))),
    { rootMargin: "700px" },
  );
  const watch = () => views().forEach((view) => begun.has(view) || near.observe(view));
  window.interpViews = { painters, element, choosers, drawAll, watch };

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", watch);
  else watch();
  window.addEventListener("beforeprint", drawAll);
})();
