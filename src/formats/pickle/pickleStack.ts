/** The values that a pickle is building, the last one on top, and the marks between them. */
import type { FatalError } from '../../errors.js';
import { kindOf } from './values.js';
import type { PickledDict, PickledList, PickleValue } from './values.js';

/** Each throws what `damaged` makes of it where the value that it wants is not there. */
export interface PickleStack {
  readonly push: (value: PickleValue) => void;
  readonly mark: () => void;
  readonly pop: () => PickleValue;
  readonly popString: () => string;
  /** So many values, the top one last. */
  readonly popSome: (count: number) => ReadonlyArray<PickleValue>;
  /** Those above the last mark, which goes with them. */
  readonly popMarked: () => ReadonlyArray<PickleValue>;
  readonly top: () => PickleValue;
  readonly topDict: () => PickledDict;
  readonly topList: () => PickledList;
  readonly isEmpty: () => boolean;
}

const mark = Symbol('mark');

export const pickleStack = (damaged: (what: string) => FatalError): PickleStack => {
  const stack: Array<PickleValue | typeof mark> = [];
  const there = (value: PickleValue | typeof mark | undefined): PickleValue => {
    if (value === undefined || value === mark) throw damaged('wants a value that is not there');
    return value;
  };
  const pop = (): PickleValue => there(stack.pop());
  const top = (): PickleValue => there(stack.at(-1));
  const unlike = (wanted: string, value: PickleValue): FatalError => damaged(`wants a ${wanted}, not ${kindOf(value)}`);
  return {
    push: (value) => {
      stack.push(value);
    },
    mark: () => {
      stack.push(mark);
    },
    pop,
    popString: () => {
      const value = pop();
      if (typeof value !== 'string') throw unlike('string', value);
      return value;
    },
    popSome: (count) => Array.from({ length: count }, pop).reverse(),
    popMarked: () => {
      const from = stack.lastIndexOf(mark);
      if (from === -1) throw damaged('wants a mark that is not there');
      // No mark lies behind the last one.
      return stack.splice(from).slice(1) as Array<PickleValue>;
    },
    top,
    topDict: () => {
      const value = top();
      if (value === null || typeof value !== 'object' || value._tag !== 'dict') throw unlike('dict', value);
      return value;
    },
    topList: () => {
      const value = top();
      if (value === null || typeof value !== 'object' || value._tag !== 'list') throw unlike('list', value);
      return value;
    },
    isEmpty: () => stack.length === 0,
  };
};
