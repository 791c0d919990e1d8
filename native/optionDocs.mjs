// What each option is for, written into declaration files above its name, so that an editor tells it: the compiler, which
// infers these types from codecs, cannot.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LoraConfig, QuantizationConfig, SftConfig } from '../dist/index.js';

const records = { SftConfig, LoraConfig, QuantizationConfig };

const comment = ({ doc, presence, default: value }) => {
  const told = presence !== 'default' || value === null || value === '' ? '' : ` Default: ${JSON.stringify(value)}.`;
  return `/** ${doc}${told} */`.replaceAll('*/ */', '*\\/ */');
};

/**
 * Documents the options in the declarations of a `dist` folder, whether they were documented before or not. Throws where an option is
 * not found there.
 */
export const documentOptions = (dist) => {
  const files = readdirSync(dist, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.d.ts'))
    .map((name) => join(dist, name));
  for (const [name, { fields }] of Object.entries(records)) {
    const file = files.find((path) => readFileSync(path, 'utf8').includes(`export declare const ${name}: `));
    if (file === undefined) throw new Error(`no file of ${dist} declares ${name}`);
    const left = new Set(Object.keys(fields));
    const text = readFileSync(file, 'utf8').replace(
      /^(?: +\/\*\* .* \*\/\n)?(( +)(?:readonly )?(\w+): )(?=.*\bField<)/gm,
      (found, line, indent, option) => {
        left.delete(option);
        return fields[option] === undefined ? found : `${indent}${comment(fields[option])}\n${line}`;
      },
    );
    if (left.size > 0) throw new Error(`${file} does not declare ${[...left].join(', ')}`);
    writeFileSync(file, text);
  }
};
