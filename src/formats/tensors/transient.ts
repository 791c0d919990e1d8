/**
 * Buffers for values that are on their way elsewhere. The collector sees a few small objects and takes its time, while a
 * checkpoint's tensors pile up behind them: `discard` gives the memory back at once.
 */

/** ES2024, which every Node.js this library runs on has and the compiler's library has not. */
interface Resizable {
  readonly resizable: boolean;
  readonly resize: (byteLength: number) => void;
}
type MakeResizable = new (byteLength: number, options: { readonly maxByteLength: number }) => ArrayBuffer;

/** So many bytes of 0 that `discard` can free. */
export const transientBytes = (length: number): Uint8Array<ArrayBuffer> =>
  new Uint8Array(new (ArrayBuffer as unknown as MakeResizable)(length, { maxByteLength: length }), 0, length);

/** Frees what `transientBytes` made; who else looks at the values sees none from then on. Leaves other memory alone. */
export const discard = ({ buffer }: ArrayBufferView): void => {
  const { resizable } = buffer as unknown as Partial<Resizable>;
  if (resizable === true) (buffer as unknown as Resizable).resize(0);
};
