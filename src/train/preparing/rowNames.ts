/** Names of roles and files behind the numbers that rows carry, so that a loss can be told by role and by source. */

/** Names numbered from 1 in the order they were first asked for; a name beyond the last number is 0, as no name is. */
export interface Names {
  readonly numberOf: (name: string) => number;
  /** Undefined for 0. */
  readonly nameOf: (number: number) => string | undefined;
}

const makeNames = (most: number): Names => {
  const numbers = new Map<string, number>();
  const names: Array<string> = [];
  return {
    numberOf: (name) => {
      const known = numbers.get(name);
      if (known !== undefined) return known;
      if (names.length >= most) return 0;
      names.push(name);
      numbers.set(name, names.length);
      return names.length;
    },
    nameOf: (number) => names[number - 1],
  };
};

/** The names behind the numbers that rows carry of roles and files. */
export interface RowNames {
  readonly roles: Names;
  readonly files: Names;
}

/** Names of roles and files for the rows of a run, none given yet: at most as many as the columns' integers can count. */
export const makeRowNames = (): RowNames => ({ roles: makeNames(0xff), files: makeNames(0xffff) });
