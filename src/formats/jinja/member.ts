/** What filters reach inside of a value. */
import { attribute, item } from './operations.js';
import { isText, plain } from './traced.js';
import { isDict, type Value } from './values.js';

/** Dotted path through attributes and items. */
export const member = (value: Value, path: Value): Value => {
  if (!isText(path)) return item(value, path);
  return plain(path)
    .split('.')
    .reduce((current, part) => {
      if (/^\d+$/.test(part)) return item(current, Number(part));
      return isDict(current) ? item(current, part) : attribute(current, part);
    }, value);
};
