import { describe, expect, it } from '@jest/globals';
import { jsonText, parseJson } from '../../src/formats/json/json.js';
import { configJson, parseConfigJson } from '../../src/formats/json/configJson.js';

describe('JSON of a configuration', () => {
  it('has words of Python as transformers 5 writes them, outside of strings alone', () => {
    const text = '{"limit": [0.0, Infinity], "low": -Infinity, "none": NaN, "name": "to Infinity, \\"NaN\\": NaN"}';
    expect(parseConfigJson(text)).toEqual({
      limit: [0, { __float__: 'Infinity' }],
      low: { __float__: '-Infinity' },
      none: { __float__: 'NaN' },
      name: 'to Infinity, "NaN": NaN',
    });
  });

  it('keeps what its numbers were written as', () => {
    const text = '{"a": 3.0, "b": [1, Infinity]}';
    expect(jsonText(parseConfigJson(text), { indent: 0 })).toBe('{"a":3.0,"b":[1,{"__float__":"Infinity"}]}\n');
  });

  it('is refused where it is none', () => {
    expect(() => parseConfigJson('{"a": Infinite}')).toThrow(SyntaxError);
    expect(() => parseConfigJson('{"a": Infinity')).toThrow(SyntaxError);
  });

  it('is refused at its own fault, not at such a word before it', () => {
    const text = '{\n  "limit": [0.0, -Infinity],\n  "none": NaN, "name": tru }\n';
    expect(parseJson(text, 'config.json', configJson)).toMatchObject({
      left: {
        code: 'E_INVALID_JSON',
        details: { file: 'config.json', line: 3, actual: expect.stringContaining('tru }') },
      },
    });
    expect(parseJson(text, 'config.json')).toMatchObject({ left: { details: { line: 2 } } });
  });
});
