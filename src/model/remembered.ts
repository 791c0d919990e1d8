/** The same function, which remembers what it gave: for names of weights, which every step asks for again. */
export const remembered = <A extends object | boolean>(make: (key: string) => A): ((key: string) => A) => {
  const known = new Map<string, A>();
  return (key) => {
    const before = known.get(key);
    if (before !== undefined) return before;
    const made = make(key);
    known.set(key, made);
    return made;
  };
};
