import { pathToFileURL } from 'node:url';

/**
 * The address of the file that a module runs in, given its `import.meta`: the module's own, or that of a bundle. One that is CommonJS
 * leaves `import.meta` empty.
 */
export const moduleUrl = ({ url }: { readonly url?: string }): string => url ?? pathToFileURL(__filename).href;
