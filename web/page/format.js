// How numbers, sizes and times are written.

const counts = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const UNKNOWN = "–";

function known(value) {
  return value !== null && value !== undefined && !Number.isNaN(value);
}

/** A number in full: 1,234,567. */
export function count(value) {
  return known(value) ? counts.format(value) : UNKNOWN;
}

/** A number in short: 1.2M. */
export function short(value) {
  return known(value) ? compact.format(value) : UNKNOWN;
}

export function rate(value) {
  return known(value) ? `${short(value)} rows/s` : UNKNOWN;
}

/** A size in binary units. */
export function bytes(value) {
  if (!known(value)) {
    return UNKNOWN;
  }
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let size = Number(value);
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${size >= 100 || unit === 0 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

export function byteRate(value) {
  return known(value) ? `${bytes(value)}/s` : UNKNOWN;
}

/** A span of time that was given in milliseconds. */
export function duration(ms) {
  if (!known(ms)) {
    return UNKNOWN;
  }
  if (ms < 1_000) {
    return `${Math.round(ms)} ms`;
  }
  const seconds = ms / 1_000;
  if (seconds < 60) {
    return `${seconds.toFixed(1)} s`;
  }
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) {
    return `${minutes} min ${Math.floor(seconds % 60)} s`;
  }
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** A moment in the reader's own time zone. */
export function moment(ms) {
  return known(ms) ? new Date(ms).toLocaleString("sv") : UNKNOWN;
}

export function percent(share) {
  return known(share) ? `${Math.round(share * 100)} %` : UNKNOWN;
}
