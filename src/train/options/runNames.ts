import type { Among } from '../../checked.js';
import { SftConfig } from './config.js';

const others = Object.fromEntries(Object.keys(SftConfig.fields).map((name) => [name, 'beside' as const]));

/** Names that are read of the decoded options of a run, among all that such a record has. */
export const ofRun = <const N>(names: N): Among<Readonly<Record<string, 'beside'>> & N> => ({
  among: { ...others, ...names },
  others: () => false,
  missing: 'decodeSftConfig gives all options, with their defaults',
});
