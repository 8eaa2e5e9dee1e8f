// [complaints, texts]: every text of the page that is cut off or that another text lies on, and how many there are.
() => {
  const complaints = [], seen = [], kept = new Map();
  const quoted = (text) => JSON.stringify(text.trim().slice(0, 40));
  const hiding = (element) => { // the boxes around an element that cut off what sticks out of them
    if (element === document.body) return [];
    if (!kept.has(element)) {
      const around = hiding(element.parentElement);
      const cuts = element.localName === "svg" || getComputedStyle(element).overflowX !== "visible";
      kept.set(element, cuts ? [...around, [element.className, element.getBoundingClientRect()]] : around);
    }
    return kept.get(element);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), range = document.createRange();
  const page = ["the window", { left: 0, right: document.documentElement.clientWidth }];
  while (walker.nextNode()) {
    const node = walker.currentNode, holder = node.parentElement;
    if (!node.data.trim() || holder.closest("script, style, noscript, .unseen, .skip, .placed")) continue;
    range.selectNodeContents(node);
    for (const { left, right, top, bottom, width, height } of range.getClientRects()) {
      if (!width || !height) continue;
      for (const [name, box] of [page, ...hiding(holder)]) {
        if (left < box.left - 1 || right > box.right + 1) complaints.push(`${quoted(node.data)} is cut off by ${name.baseVal ?? name}`);
      }
      const spare = 0.18 * height; // a line is taller than its letters
      if (hiding(holder).some(([, box]) => top > box.bottom || bottom > box.bottom + 1)) continue; // to be scrolled to
      seen.push({ left, right, top: top + spare, bottom: bottom - spare, node });
    }
  }
  seen.sort((one, other) => one.top - other.top);
  seen.forEach((one, at) => {
    for (let next = at + 1; next < seen.length && seen[next].top < one.bottom - 1; next++) {
      const other = seen[next];
      if (one.node !== other.node && Math.min(one.right, other.right) - Math.max(one.left, other.left) > 0.5) {
        complaints.push(`${quoted(one.node.data)} and ${quoted(other.node.data)} lie on each other`);
      }
    }
  });
  return [complaints, seen.length];
}
