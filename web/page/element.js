// Describes what the page shows as plain trees, and brings the document in line with them.
//
// A view is a function from what is known to a tree. Each time something is new the whole tree is made again and
// `patch` changes only what differs, so the focus, the selection and scrolled places stay where they are.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "path", "rect", "line", "circle", "text", "title", "polyline", "polygon"]);

/** A piece of a tree. Children may be nested lists; null, undefined and false are left out. */
export function el(tag, attributes, ...children) {
  return { tag, attributes: attributes ?? {}, children: children.flat(Infinity).filter(isShown) };
}

function isShown(child) {
  return child !== null && child !== undefined && child !== false;
}

/** Makes the children of `parent` the given trees. */
export function patch(parent, children) {
  const wanted = [children].flat(Infinity).filter(isShown);
  const present = [...parent.childNodes];
  wanted.forEach((child, index) => {
    const node = present[index];
    if (node && fits(node, child)) {
      update(node, child);
    } else if (node) {
      parent.replaceChild(create(child), node);
    } else {
      parent.appendChild(create(child));
    }
  });
  present.slice(wanted.length).forEach((node) => node.remove());
}

function isText(child) {
  return typeof child !== "object";
}

function fits(node, child) {
  if (isText(child)) {
    return node.nodeType === Node.TEXT_NODE;
  }
  const sameKey = (node.dataset?.key ?? "") === String(child.attributes["data-key"] ?? "");
  return node.nodeType === Node.ELEMENT_NODE && node.localName === child.tag && sameKey;
}

function create(child) {
  if (isText(child)) {
    return document.createTextNode(String(child));
  }
  // A <title> inside a picture is the picture's; there is no other kind here.
  const node = SVG_TAGS.has(child.tag)
    ? document.createElementNS(SVG, child.tag)
    : document.createElement(child.tag);
  update(node, child);
  return node;
}

function update(node, child) {
  if (isText(child)) {
    const text = String(child);
    if (node.data !== text) {
      node.data = text;
    }
    return;
  }
  for (const { name } of [...node.attributes]) {
    if (!(name in child.attributes) || isAbsent(child.attributes[name])) {
      node.removeAttribute(name);
    }
  }
  for (const [name, value] of Object.entries(child.attributes)) {
    const text = value === true ? "" : String(value);
    if (!isAbsent(value) && node.getAttribute(name) !== text) {
      node.setAttribute(name, text);
    }
  }
  patch(node, child.children);
}

function isAbsent(value) {
  return value === false || value === null || value === undefined;
}
