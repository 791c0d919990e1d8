/** Downloads a model by name with the built library and prints the directory: fetch_hub.mjs owner/name */
import { locateModel, orThrow } from '../dist/index.js';

console.log((await orThrow(locateModel(process.argv[2]))).dir);
