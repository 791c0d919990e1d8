const timer = (run: () => void): (() => void) => {
  const handle = setTimeout(run, 0);
  return () => clearTimeout(handle);
};

/** Runs `run` after timers, input and output had their turn. Returns how to call it off. */
export const macrotask = (run: () => void): (() => void) => {
  // setTimeout waits at least a millisecond; only engines without setImmediate pay that.
  if (typeof setImmediate !== 'function') return timer(run);
  const handle = setImmediate(run);
  return () => clearImmediate(handle);
};
