"use strict";
// The query-key neuron view: for one head and one query token, what every dimension adds to the score of every key.
(() => {
  const { painters, element, choosers } = window.interpViews;
  const POSITIVE = [11, 95, 165];
  const NEGATIVE = [193, 68, 14];

  const strip = (values, limit, order) => {
    const canvas = element("canvas", "strip");
    canvas.width = values.length;
    canvas.height = 1;
    const context = canvas.getContext("2d");
    const image = context.createImageData(values.length, 1);
    order.forEach((dimension, place) => {
      const value = values[dimension];
      const weight = Math.min(Math.abs(value) / limit, 1);
      const colour = value < 0 ? NEGATIVE : POSITIVE;
      for (let c = 0; c < 3; c++) image.data[4 * place + c] = 255 + (colour[c] - 255) * weight;
      image.data[4 * place + 3] = 255;
    });
    context.putImageData(image, 0, 0);
    return canvas;
  };

  const largest = (rows) => Math.max(1e-9, ...rows.map((row) => Math.max(...row.map(Math.abs))));

  painters.query_key = (view, data) => {
    const { tokens, heads, q, k, scale, causal } = data;
    let head = 0;
    let query = data.query;
    let sorted = false;
    const chips = element("div", "chips");
    const body = element("div", "rows");
    const status = element("div", "status", " ");

    const cell = (row, content, className) => {
      const made = element("div", className);
      if (content instanceof Node) made.append(content);
      else made.textContent = content;
      row.append(made);
      return made;
    };

    const watch = (canvas, values, order, what) =>
      canvas.addEventListener("mousemove", (event) => {
        const place = Math.floor((event.offsetX / canvas.clientWidth) * order.length);
        const dimension = order[Math.min(Math.max(place, 0), order.length - 1)];
        status.textContent = `dimension ${dimension}: ${what} ${values[dimension].toPrecision(3)}`;
      });

    const show = () => {
      const vector = q[head][query];
      const keys = k[heads[head].group].slice(0, causal ? query + 1 : tokens.length);
      const products = keys.map((key) => key.map((value, d) => value * vector[d] * scale));
      const scores = products.map((row) => row.reduce((sum, value) => sum + value, 0));
      const top = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - top));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      const order = vector.map((_, d) => d);
      const strength = (d) => products.reduce((sum, row) => sum + Math.abs(row[d]), 0);
      if (sorted) order.sort((a, b) => strength(b) - strength(a));

      [...chips.children].forEach((chip, i) => chip.classList.toggle("chosen", i === query));
      body.replaceChildren();
      const header = element("div", "row header");
      ["key token", "key vector k", "q × k, each dimension's part of the score", "score", "attention"].forEach((text) =>
        cell(header, text),
      );
      const asked = element("div", "row asked");
      cell(asked, "query q", "token");
      const canvas = strip(vector, largest([vector]), order);
      watch(canvas, vector, order, "q");
      cell(asked, canvas);
      cell(asked, `of token ${query}, “${tokens[query]}”`, "of");
      body.append(header, asked);

      const key_limit = largest(keys);
      const product_limit = largest(products);
      keys.forEach((key, i) => {
        const row = element("div", "row");
        cell(row, tokens[i], "token").title = `token ${i}`;
        const key_canvas = strip(key, key_limit, order);
        const product_canvas = strip(products[i], product_limit, order);
        watch(key_canvas, key, order, `k of “${tokens[i]}”`);
        watch(product_canvas, products[i], order, `q × k with “${tokens[i]}”`);
        cell(row, key_canvas);
        cell(row, product_canvas);
        cell(row, scores[i].toFixed(2), "score");
        const weight = weights[i] / total;
        const meter = element("span", "meter");
        meter.style.width = `${(60 * weight).toFixed(1)}px`;
        const bar = cell(row, meter, "attention");
        bar.append(weight.toFixed(2));
        body.append(row);
      });
    };

    tokens.forEach((token, i) => {
      const chip = element("button", "chip", token);
      chip.type = "button";
      chip.addEventListener("click", () => ((query = i), show()));
      chips.append(chip);
    });
    const update = choosers(view, [["head", heads.map(({ name }) => name)]], (index) => ((head = index), show()));
    const label = element("label", "", "order dimensions by strength ");
    const box = element("input");
    box.type = "checkbox";
    box.addEventListener("change", () => ((sorted = box.checked), show()));
    label.append(box);
    view.querySelector(".choosers").append(label);
    view.append(element("div", "hint", "Query token (click another):"), chips, body, status);
    update();
  };
})();
