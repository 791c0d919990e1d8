/** Ctrl-C, SIGTERM, and the end of the terminal: the first asks the run to end in order, the second ends the process. */

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Calls `stop` at the first signal. Returns how to give the signals back. */
export const onSignals = (err: { readonly write: (text: string) => unknown }, stop: () => void): (() => void) => {
  let asked = false;
  const heard = (signal: NodeJS.Signals): void => {
    // A terminal that closes may say so more than once, and nobody is there to mean it.
    if (asked && signal === 'SIGHUP') return;
    if (asked) {
      err.write(`\n${signal}: stopped at once; a run goes on from its last checkpoint, if there is one\n`);
      process.exit(1);
    }
    asked = true;
    err.write(`\n${signal}: stopping after the running step; once more to stop now\n`);
    stop();
  };
  for (const signal of signals) process.on(signal, heard);
  return () => {
    for (const signal of signals) process.off(signal, heard);
  };
};
