/** The commands of `rxtune`, in the order in which its help shows them. */
import type { CommandLine } from './command.js';
import { doctorCommand } from './doctor.js';
import { evaluateCommand } from './evaluate.js';
import { exportCommand } from './export.js';
import { generateCommand } from './generate.js';
import { inspectCommand } from './inspect.js';
import { mergeCommand } from './merge.js';
import { prepareCommand } from './prepare.js';
import { quantizeCommand } from './quantize.js';
import { sftCommand } from './sft.js';

export const commands: ReadonlyArray<CommandLine> = [
  sftCommand,
  prepareCommand,
  inspectCommand,
  generateCommand,
  evaluateCommand,
  mergeCommand,
  quantizeCommand,
  exportCommand,
  doctorCommand,
];
