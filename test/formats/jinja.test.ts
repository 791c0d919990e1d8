import { expect, test } from '@jest/globals';
import { compile } from '../../src/formats/jinja/program.js';
import { TemplateError } from '../../src/formats/jinja/templateError.js';
import { toValue } from '../../src/formats/jinja/toValue.js';
import { golden } from './golden.js';

interface JinjaGolden {
  readonly data: Readonly<Record<string, unknown>>;
  readonly cases: ReadonlyArray<{ readonly template: string; readonly text?: string; readonly error?: string }>;
}

const { data, cases } = golden('jinja.json') as JinjaGolden;

/** Where we differ from Jinja2 on purpose, or do not follow it. */
const differs: ReadonlySet<string> = new Set([
  // Chat templates are not HTML: nothing is ever escaped.
  "{% autoescape true %}{{ '<' }}{% endautoescape %}",
  // A name that its scope assigns further down: Jinja2 takes it for missing until then, here the outer one is seen.
  '{% macro m(a=n) %}{{ a }}{% endmacro %}{{ m() }}{% set n = 8 %}{{ m() }}',
]);

for (const traced of [false, true]) {
  test(`${cases.length} small templates as Jinja2 renders or refuses them, over ${traced ? 'traced' : 'plain'} text`, () => {
    const variables = new Map(
      Object.entries(data).map(([name, value]) => [name, toValue(value, traced ? { field: name } : undefined)]),
    );
    const faults: unknown[] = [];
    for (const { template, text, error } of cases) {
      if (differs.has(template)) continue;
      let got: string | undefined;
      let refused: unknown;
      try {
        const result = compile(template).run(variables, { clock: () => new Date(2024, 1, 29), steps: 1e6 });
        got = typeof result === 'string' ? result : result.text;
      } catch (cause) {
        if (!(cause instanceof TemplateError)) throw cause;
        refused = cause.message;
      }
      if (error === undefined ? got !== text : refused === undefined)
        faults.push({ template, text, error, got, refused });
    }
    expect(faults).toEqual([]);
  });
}
