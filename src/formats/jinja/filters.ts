/** Jinja2's filters, those without HTML and chance. */
import { bind, type Filter } from './filter.js';
import { plainText } from './json.js';
import { listFilters } from './listFilters.js';
import { member } from './member.js';
import { numberFilters } from './numberFilters.js';
import { iterate, noSuch, ownAttribute } from './operations.js';
import { fail } from './templateError.js';
import { textFilters } from './textFilters.js';
import { generator, isUndefined, orElse, truthy } from './values.js';

/** `map`, `select` and their kin take any false value for an empty list. */
const map: Filter = (value, positional, named) => {
  if (!truthy(value)) return generator([]);
  const path = named.get('attribute');
  const items = iterate(value);
  if (positional.length === 0 && path !== undefined) {
    const otherwise = named.get('default');
    return generator(
      items.map((one) => {
        const found = member(one, path);
        return isUndefined(found) && otherwise !== undefined ? otherwise : found;
      }),
    );
  }
  const [name, ...rest] = positional;
  if (name === undefined) return fail('map requires a filter argument');
  const filter = filterNamed(plainText(name, 'the name of a filter'));
  return generator(items.map((one) => filter(one, rest, named)));
};

const attr: Filter = (value, [name = null]) => {
  const wanted = plainText(name, 'the name of an attribute');
  return orElse(ownAttribute(value, wanted), () => noSuch(value, wanted));
};

const orDefault: Filter = (value, positional, named) => {
  const [otherwise = '', boolean = false] = bind(['default_value', 'boolean'], positional, named);
  return isUndefined(value) || (truthy(boolean) && !truthy(value)) ? otherwise : value;
};

const filters: ReadonlyMap<string, Filter> = new Map<string, Filter>([
  ...numberFilters,
  ...textFilters,
  ...listFilters,
  ['attr', attr],
  ['d', orDefault],
  ['default', orDefault],
  ['map', map],
]);

/** The filter of a name; its absence is a fault of the template. */
export const filterNamed = (name: string): Filter => filters.get(name) ?? fail(`No filter named '${name}'.`);
