import { bfloat16ToFloat32, float16ToFloat32, float32ToBfloat16, float32ToFloat16 } from './float16.js';
import type { Dtype } from './safetensorsHeader.js';

/** Dtypes whose values this library can take for numbers; the others can be carried as bytes. */
export type NumericDtype = Exclude<Dtype, 'C64' | 'F8_E4M3' | 'F8_E5M2'>;

export const isNumeric = (dtype: Dtype): dtype is NumericDtype =>
  dtype !== 'C64' && dtype !== 'F8_E4M3' && dtype !== 'F8_E5M2';

/** The bytes as they are, or at the start of a buffer of their own where elements of that width cannot be viewed. */
export const aligned = (bytes: Uint8Array, width: number): Uint8Array =>
  bytes.byteOffset % width === 0 ? bytes : Uint8Array.from(bytes);

/**
 * Little-endian elements → float32, a fresh array unless they are float32 already (then a view). Whole numbers beyond 2^24
 * and 64-bit floats are rounded. `bytes.length` must be a multiple of the element's size. What is made of the formats of half the
 * size lies in what `allocate` gives.
 */
export const toFloat32 = (
  dtype: NumericDtype,
  bytes: Uint8Array,
  allocate = (length: number): Uint8Array<ArrayBuffer> => new Uint8Array(length),
): Float32Array => {
  const fresh = (length: number): Float32Array<ArrayBuffer> => new Float32Array(allocate(4 * length).buffer, 0, length);
  const view = <A>(View: {
    new (buffer: ArrayBufferLike, offset: number, length: number): A;
    readonly BYTES_PER_ELEMENT: number;
  }): A => {
    const at = aligned(bytes, View.BYTES_PER_ELEMENT);
    return new View(at.buffer, at.byteOffset, at.byteLength / View.BYTES_PER_ELEMENT);
  };
  switch (dtype) {
    case 'F32':
      return view(Float32Array);
    case 'BF16':
      return bfloat16ToFloat32(view(Uint16Array), fresh(bytes.length / 2));
    case 'F16':
      return float16ToFloat32(view(Uint16Array), fresh(bytes.length / 2));
    case 'F64':
      return Float32Array.from(view(Float64Array));
    case 'I8':
      return Float32Array.from(view(Int8Array));
    case 'U8':
      return Float32Array.from(bytes);
    case 'BOOL':
      return Float32Array.from(bytes, (byte) => (byte === 0 ? 0 : 1));
    case 'I16':
      return Float32Array.from(view(Int16Array));
    case 'U16':
      return Float32Array.from(view(Uint16Array));
    case 'I32':
      return Float32Array.from(view(Int32Array));
    case 'U32':
      return Float32Array.from(view(Uint32Array));
    case 'I64':
      return Float32Array.from(view(BigInt64Array), Number);
    case 'U64':
      return Float32Array.from(view(BigUint64Array), Number);
  }
};

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** Float32 → the bytes of a float dtype, rounded to nearest even; undefined for other dtypes. */
export const fromFloat32 = (dtype: Dtype, values: Float32Array): Uint8Array | undefined => {
  switch (dtype) {
    case 'F32':
      return bytesOf(values);
    case 'BF16':
      return bytesOf(float32ToBfloat16(values));
    case 'F16':
      return bytesOf(float32ToFloat16(values));
    case 'F64':
      return bytesOf(Float64Array.from(values));
    default:
      return undefined;
  }
};
