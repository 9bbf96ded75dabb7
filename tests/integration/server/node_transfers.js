// Transfers of the vendor's unmodified Node client, which uses the local service as its proxy: argv is URL, secret id, secret key, file.
const COS = require('cos-nodejs-sdk-v5');
const fs = require('fs');

const [url, SecretId, SecretKey, FilePath] = process.argv.slice(2);
const Bucket = 'media-1250000000';
const Region = 'ap-chongqing';
const cos = new COS({ SecretId, SecretKey, Protocol: 'http:', Proxy: url });
const place = { Bucket, Region };

(async () => {
  const seen = {};
  const up = await cos.uploadFile({ ...place, Key: 'in/big ü.bin', FilePath, SliceSize: 1024 * 1024, ChunkSize: 1024 * 1024 });
  seen.etag = up.ETag;
  await cos.downloadFile({ ...place, Key: 'in/big ü.bin', FilePath: `${FilePath}.back`, ChunkSize: 1024 * 1024 });
  seen.same = fs.readFileSync(FilePath).equals(fs.readFileSync(`${FilePath}.back`));
  const started = await cos.multipartInit({ ...place, Key: 'open' });
  seen.open = (await cos.multipartList({ ...place, Prefix: 'op' })).Upload.map((upload) => upload.Key);
  await cos.multipartUpload({ ...place, Key: 'open', UploadId: started.UploadId, PartNumber: 3, Body: 'part' });
  seen.parts = (await cos.multipartListPart({ ...place, Key: 'open', UploadId: started.UploadId })).Part.map((part) => part.PartNumber);
  await cos.multipartAbort({ ...place, Key: 'open', UploadId: started.UploadId });
  const CopySource = `${Bucket}.cos.${Region}.myqcloud.com/${encodeURIComponent('in/big ü.bin').replace(/%2F/g, '/')}`;
  await cos.putObjectCopy({ ...place, Key: 'copy', CopySource });
  await cos.sliceCopyFile({ ...place, Key: 'parts', CopySource, CopySliceSize: 1024 * 1024, CopyChunkSize: 1024 * 1024 });
  seen.keys = (await cos.getBucket(place)).Contents.map((entry) => entry.Key);
  const gone = await cos.deleteMultipleObject({ ...place, Objects: [{ Key: 'copy' }, { Key: 'in/big ü.bin' }] });
  seen.deleted = gone.Deleted.map((entry) => entry.Key);
  seen.left = (await cos.getBucket(place)).Contents.map((entry) => entry.Key);
  const link = cos.getObjectUrl({ ...place, Key: 'parts', Sign: true });
  seen.link = link.replace(/^https?:\/\/[^/]+/, '');
  process.stdout.write(JSON.stringify(seen));
})().catch((error) => {
  process.stderr.write(`${error.stack || JSON.stringify(error)}\n`);
  process.exit(1);
});
