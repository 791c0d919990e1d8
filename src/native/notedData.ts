import { engine } from '../tfjs.js';
import { NativeData } from './nativeData.js';
import type { Noted } from './nativeData.js';

type NotedData = WeakMap<object, Noted>;

/**
 * The same map, but for what it holds of the engine's own data: that lies in the data itself. A weak map costs a search for every
 * tensor that is made or disposed of, and the collector's time, which is a tenth of what JavaScript takes for a step.
 */
export const inTheData = (others: NotedData): NotedData => {
  const map: NotedData = {
    has: (key) => (key instanceof NativeData ? key.noted !== undefined : others.has(key)),
    get: (key) => (key instanceof NativeData ? key.noted : others.get(key)),
    set: (key, noted) => {
      if (key instanceof NativeData) key.noted = noted;
      else others.set(key, noted);
      return map;
    },
    delete: (key) => {
      if (!(key instanceof NativeData)) return others.delete(key);
      const there = key.noted !== undefined;
      key.noted = undefined;
      return there;
    },
    [Symbol.toStringTag]: 'WeakMap',
  };
  return map;
};

/** From here on tfjs notes what it must know of the engine's data there. */
export const noteInTheData = (): void => {
  const { state } = engine();
  state.tensorInfo = inTheData(state.tensorInfo);
};
