/** Paths of modules, and how options name them. */
import type { LoraConfig } from './lora.js';

/** Path of the module a weight belongs to. */
export const moduleOf = (name: string): string => name.slice(0, name.lastIndexOf('.'));

/** Whether the module's path is one of the names or ends with `.name`. */
export const isNamed = (module: string, names: ReadonlyArray<string>): boolean =>
  names.some((name) => module === name || module.endsWith(`.${name}`));

/** Whether `modulesToSave` names the module: by any end of its path, as in PEFT ("norm" is every norm whose name ends so). */
export const isSavedModule = ({ modulesToSave = [] }: Pick<LoraConfig, 'modulesToSave'>, module: string): boolean =>
  modulesToSave.some((name) => module.endsWith(name));
