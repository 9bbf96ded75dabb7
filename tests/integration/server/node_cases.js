// The cases of the vendor's own test suite of its Node client, against the local service, which is the client's proxy: argv is URL, secret id, secret key, folder. Prints one JSON document.
// Each case makes the calls of the official one of that group and title (test/test.js of cos-nodejs-sdk-v5 2.15.4, titles in English here), with assertions of our own.
const COS = require('cos-nodejs-sdk-v5');
const assert = require('assert');
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const path = require('path');
const { PassThrough } = require('stream');

const [url, SecretId, SecretKey, folder] = process.argv.slice(2);
const Bucket = 'media-1250000000';
const Region = 'ap-chongqing';
const place = { Bucket, Region };
const MB = 1024 * 1024;
const settings = { SecretId, SecretKey, Protocol: 'http:', Proxy: url };
const cos = new COS({ ...settings, SliceSize: MB, ChunkSize: MB });
const SPECIAL = "中文→↓←→↖↗↙↘! $&'()+,-.0123456789=@ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

const md5 = (data, form = 'hex') => crypto.createHash('md5').update(data).digest(form);
const put = (Key, Body, more = {}) => cos.putObject({ ...place, Key, Body, ...more });
const read = async (Key, more = {}) => (await cos.getObject({ ...place, Key, ...more })).Body.toString();
const head = async (Key) => (await cos.headObject({ ...place, Key })).headers;
const source = (Key) => `${Bucket}.cos.${Region}.myqcloud.com/${encodeURIComponent(Key).replace(/%2F/g, '/')}`;
const openUploads = async () => [].concat((await cos.multipartList(place)).Upload || []);
const keys = async (Prefix) => (await cos.getBucket({ ...place, Prefix })).Contents.map((entry) => entry.Key);

function file(name, size) {
  const made = path.join(folder, name);
  fs.writeFileSync(made, crypto.randomBytes(size));
  return made;
}

// Reads with a signed link, and without the client.
function opened(target) {
  return new Promise((resolve, reject) => {
    const host = `${Bucket}.cos.${Region}.myqcloud.com`;
    http.get(`${url}${target}`, { headers: { host } }, (answer) => reading(answer).then((body) => resolve(body.toString()), reject));
  });
}

async function refusal(call) {
  try {
    await call();
  } catch (error) {
    return [error.statusCode, error.code];
  }
  return assert.fail('it was not refused');
}

function reading(stream) {
  return new Promise((resolve, reject) => {
    const parts = [];
    stream.on('data', (part) => parts.push(part));
    stream.on('end', () => resolve(Buffer.concat(parts)));
    stream.on('error', reject);
  });
}

// Starts an upload in parts, and acts on its task a little later, when some are stored.
function interrupted(Key, FilePath, act) {
  return new Promise((resolve, reject) => {
    cos.sliceUploadFile({
      ...place, Key, FilePath, SliceSize: 1, ChunkSize: MB, AsyncLimit: 1,
      onTaskReady: (task) => setTimeout(() => act(task, resolve), 60),
    }, (error, data) => (error ? reject(error) : resolve(data)));
  });
}

async function keepsType(call, expected) {
  await call();
  assert.strictEqual((await head('typed.zip'))['content-type'], expected);
}

async function keepsCaching(call, expected) {
  await call();
  assert.strictEqual((await head('cached'))['cache-control'], expected);
}

const small = () => file('small.zip', 100);
const big = () => file('big.zip', 2 * MB + 5);

const PASSING = {
  'getAuthorization: putObject with a signature made elsewhere': async () => {
    const other = new COS({ ...settings, getAuthorization: (options, done) => done(COS.getAuthorization({ SecretId, SecretKey, Method: options.Method, Pathname: options.Pathname, Query: options.Query, Headers: options.Headers })) });
    await other.putObject({ ...place, Key: 'elsewhere', Body: 'signed' });
    assert.strictEqual(await read('elsewhere'), 'signed');
  },
  'putBucket: a new bucket': async () => {
    await cos.putBucket({ Bucket: 'other-1250000000', Region });
    await cos.headBucket({ Bucket: 'other-1250000000', Region });
  },
  'getAuth: the signature opens an object': async () => {
    await put('signed', 'hello');
    const signature = cos.getAuth({ Method: 'get', Key: 'signed', Expires: 60 });
    assert.strictEqual(await opened(`/signed?${signature}`), 'hello');
  },
  'getObjectUrl: with a query': async () => {
    const link = await new Promise((resolve, reject) => { cos.getObjectUrl({ ...place, Key: 'signed', Sign: true, Query: { 'response-content-type': 'text/x' } }, (error, data) => (error ? reject(error) : resolve(data.Url))); });
    assert.strictEqual(await opened(link.replace(/^http:\/\/[^/]+/, '')), 'hello');
  },
  'auth check: keys with special characters in a list': async () => {
    const answer = await cos.getBucket({ ...place, Prefix: 'aksjhdlash sajlhj!@#$%^&*()_+=-[]{}\';:"/.<>?.,??sadasd#/.,/~`' });
    assert.strictEqual(answer.statusCode, 200);
  },
  'getBucket: the list of a bucket': async () => {
    await put('list/1', 'x');
    assert.deepStrictEqual(await keys('list/'), ['list/1']);
  },
  'putObject, cancelTask': async () => {
    await new Promise((resolve) => {
      const onTaskReady = (task) => setTimeout(() => { cos.cancelTask(task); setTimeout(resolve, 50); }, 20);
      cos.putObject({ ...place, Key: 'cancelled', Body: fs.createReadStream(file('cancelled', 60 * MB)), ContentLength: 60 * MB, onTaskReady }, resolve);
    });
    assert.strictEqual((await refusal(() => head('cancelled')))[0], 404);
  },
  'tasks: many putObject at once': async () => {
    await Promise.all([...Array(20).keys()].map((number) => put(`batch/${number}`, `${number}`)));
    assert.strictEqual((await keys('batch/')).length, 20);
  },
  'sliceUploadFile: a whole file': async () => {
    const FilePath = big();
    await cos.sliceUploadFile({ ...place, Key: 'whole', FilePath });
    const { headers, Body } = await cos.getObject({ ...place, Key: 'whole' });
    assert.ok(Body.equals(fs.readFileSync(FilePath)));
    assert.ok(headers.etag.endsWith('-3"'));
  },
  'sliceUploadFile, pauseTask, restartTask': async () => {
    const FilePath = file('paused', 20 * MB);
    // Restarted once the part that is under way has ended: the client takes its answer for a new one.
    await interrupted('paused', FilePath, (task) => { cos.pauseTask(task); setTimeout(() => cos.restartTask(task), 300); });
    assert.ok((await cos.getObject({ ...place, Key: 'paused' })).Body.equals(fs.readFileSync(FilePath)));
  },
  'sliceUploadFile, cancelTask': async () => {
    await interrupted('stopped', file('stopped', 20 * MB), (task, done) => { cos.cancelTask(task); setTimeout(done, 50); });
    assert.strictEqual((await refusal(() => head('stopped')))[0], 404);
  },
  'sliceUploadFile: an empty file': async () => {
    await cos.sliceUploadFile({ ...place, Key: 'empty', FilePath: file('empty', 0) });
    assert.strictEqual((await head('empty'))['content-length'], '0');
  },
  'abortUploadTask: one upload': async () => {
    const { UploadId } = await cos.multipartInit({ ...place, Key: 'abort/1' });
    await cos.abortUploadTask({ ...place, Key: 'abort/1', Level: 'task', UploadId });
    assert.ok(!(await openUploads()).some((upload) => upload.Key === 'abort/1'));
  },
  'abortUploadTask: all of a file': async () => {
    await cos.multipartInit({ ...place, Key: 'abort/2' });
    await cos.multipartInit({ ...place, Key: 'abort/2' });
    await cos.abortUploadTask({ ...place, Key: 'abort/2', Level: 'file' });
    assert.ok(!(await openUploads()).some((upload) => upload.Key === 'abort/2'));
  },
  'abortUploadTask: all of a bucket': async () => {
    await cos.multipartInit({ ...place, Key: 'abort/3' });
    await cos.abortUploadTask({ ...place, Level: 'bucket' });
    assert.deepStrictEqual(await openUploads(), []);
  },
  'headBucket': async () => { await cos.headBucket(place); },
  'headBucket: no such bucket': async () => {
    assert.strictEqual((await refusal(() => cos.headBucket({ Bucket: 'none-1250000000', Region })))[0], 404);
  },
  'putObject: a stream of a file': async () => {
    const made = small();
    await put('stream', fs.createReadStream(made), { ContentLength: 100 });
    assert.strictEqual((await head('stream')).etag, `"${md5(fs.readFileSync(made))}"`);
  },
  'putObject: the content of a file': async () => {
    const content = fs.readFileSync(small());
    assert.strictEqual((await put('content', content)).ETag, `"${md5(content)}"`);
  },
  'putObject: a buffer': async () => {
    await put('buffer', Buffer.from('buffer content'));
    assert.strictEqual(await read('buffer'), 'buffer content');
  },
  'putObject: an empty buffer': async () => {
    assert.strictEqual((await put('buffer', Buffer.from(''))).ETag, `"${md5('')}"`);
  },
  'putObject: a string': async () => {
    await put('text', 'hello 中文');
    assert.strictEqual(await read('text'), 'hello 中文');
  },
  'putObject: an empty string': async () => {
    assert.strictEqual((await put('text', '')).ETag, `"${md5('')}"`);
  },
  'getObject: the body': async () => {
    await put('body', '中文内容');
    assert.strictEqual(await read('body'), '中文内容');
  },
  'getObject: into a stream': async () => {
    await put('out', 'streamed');
    const out = new PassThrough();
    const content = reading(out);
    await cos.getObject({ ...place, Key: 'out', Output: out });
    assert.strictEqual((await content).toString(), 'streamed');
  },
  'getObjectStream': async () => {
    assert.strictEqual((await reading(cos.getObjectStream({ ...place, Key: 'out' }))).toString(), 'streamed');
  },
  'getObject: into a file': async () => {
    const Output = path.join(folder, 'output');
    await cos.getObject({ ...place, Key: 'out', Output });
    assert.strictEqual(fs.readFileSync(Output, 'utf8'), 'streamed');
  },
  'deleteObject: no such key': async () => {
    assert.ok([200, 204].includes((await cos.deleteObject({ ...place, Key: 'was-never-there' })).statusCode));
  },
  'keys with special characters': async () => {
    await put(`(/)${SPECIAL}`, 'special');
    assert.strictEqual(await read(`(/)${SPECIAL}`), 'special');
    assert.ok((await keys('(/')).includes(`(/)${SPECIAL}`));
    await cos.deleteObject({ ...place, Key: `(/)${SPECIAL}` });
  },
  'putObjectCopy: an object': async () => {
    await put('from 中文', 'copied');
    await cos.putObjectCopy({ ...place, Key: 'to', CopySource: source('from 中文') });
    assert.strictEqual(await read('to'), 'copied');
  },
  'putObjectCopy: no such source': async () => {
    assert.deepStrictEqual(await refusal(() => cos.putObjectCopy({ ...place, Key: 'to', CopySource: source('nothing') })), [404, 'NoSuchKey']);
  },
  'sliceCopyFile: in parts': async () => {
    await cos.sliceUploadFile({ ...place, Key: 'parts', FilePath: big() });
    await cos.sliceCopyFile({ ...place, Key: 'parts2', CopySource: source('parts'), CopySliceSize: MB, CopyChunkSize: MB });
    assert.strictEqual((await head('parts2'))['x-cos-hash-crc64ecma'], (await head('parts'))['x-cos-hash-crc64ecma']);
  },
  'sliceCopyFile: at once': async () => {
    await cos.sliceCopyFile({ ...place, Key: 'once', CopySource: source('parts'), CopySliceSize: 10 * MB });
    assert.strictEqual((await head('once'))['content-length'], `${2 * MB + 5}`);
  },
  'sliceCopyFile: an empty object': async () => {
    await put('nothing-in-it', '');
    await cos.sliceCopyFile({ ...place, Key: 'nothing2', CopySource: source('nothing-in-it') });
    assert.strictEqual((await head('nothing2'))['content-length'], '0');
  },
  'sliceCopyFile: no such source': async () => {
    assert.strictEqual((await refusal(() => cos.sliceCopyFile({ ...place, Key: 'to', CopySource: source('nothing') })))[0], 404);
  },
  'deleteMultipleObject': async () => {
    await put('many/1', '1');
    await put('many/中文', '2');
    const gone = await cos.deleteMultipleObject({ ...place, Objects: [{ Key: 'many/1' }, { Key: 'many/中文' }] });
    assert.strictEqual(gone.Deleted.length, 2);
    assert.deepStrictEqual(await keys('many/'), []);
  },
  'a bucket name with a dot': async () => {
    await assert.rejects(() => cos.headBucket({ Bucket: 'a.b-1250000000', Region }));
  },
  'putObject: Content-MD5 of a file with Chinese content': async () => {
    const made = path.join(folder, 'chinese');
    fs.writeFileSync(made, '中文');
    await put('chinese', fs.createReadStream(made), { ContentLength: 6, ContentMD5: md5('中文', 'base64') });
    assert.strictEqual(await read('chinese'), '中文');
  },
  'putObject: Content-MD5 of a Chinese string': async () => {
    await put('chinese', '中文', { ContentMD5: md5('中文', 'base64') });
    assert.strictEqual(await read('chinese'), '中文');
  },
  'Content-Type: of a stream': () => keepsType(() => put('typed.zip', fs.createReadStream(small()), { ContentLength: 100 }), 'application/zip'),
  'Content-Type: of a string': () => keepsType(() => put('typed.zip', 'x'), 'application/zip'),
  'Content-Type: as given': () => keepsType(() => put('typed.zip', 'x', { ContentType: 'text/html' }), 'text/html'),
  'Content-Type: of an upload in parts': () => keepsType(() => cos.sliceUploadFile({ ...place, Key: 'typed.zip', FilePath: big() }), 'application/zip'),
  'Content-Type: as given, in parts': () => keepsType(() => cos.sliceUploadFile({ ...place, Key: 'typed.zip', FilePath: big(), ContentType: 'text/xml' }), 'text/xml'),
  'Cache-Control: putObject, none': () => keepsCaching(() => put('cached', 'x'), undefined),
  'Cache-Control: putObject, max-age': () => keepsCaching(() => put('cached', 'x', { CacheControl: 'max-age=7200' }), 'max-age=7200'),
  'Cache-Control: putObject, no-cache': () => keepsCaching(() => put('cached', 'x', { CacheControl: 'no-cache' }), 'no-cache'),
  'Cache-Control: sliceUploadFile, none': () => keepsCaching(() => cos.sliceUploadFile({ ...place, Key: 'cached', FilePath: big() }), undefined),
  'Cache-Control: sliceUploadFile, max-age': () => keepsCaching(() => cos.sliceUploadFile({ ...place, Key: 'cached', FilePath: big(), CacheControl: 'max-age=7200' }), 'max-age=7200'),
  'Cache-Control: sliceUploadFile, no-cache': () => keepsCaching(() => cos.sliceUploadFile({ ...place, Key: 'cached', FilePath: big(), CacheControl: 'no-cache' }), 'no-cache'),
  'promise: headBucket': async () => { assert.strictEqual((await cos.headBucket(place)).statusCode, 200); },
  'promise: headBucket, error': async () => {
    assert.strictEqual((await refusal(() => cos.headBucket({ Bucket: 'gone-1250000000', Region })))[0], 404);
  },
  'uploadFile: a small file': async () => {
    await cos.uploadFile({ ...place, Key: 'up/small', FilePath: small(), SliceSize: 5 * MB });
    assert.ok(!(await head('up/small')).etag.includes('-'));
  },
  'uploadFile: a folder': async () => {
    await cos.uploadFile({ ...place, Key: 'up/folder/', FilePath: folder });
    assert.strictEqual((await head('up/folder/'))['content-length'], '0');
  },
  'uploadFile: a large file, in parts': async () => {
    await cos.uploadFile({ ...place, Key: 'up/big', FilePath: big(), SliceSize: MB });
    assert.ok((await head('up/big')).etag.endsWith('-3"'));
  },
  'uploadFiles': async () => {
    const { files } = await cos.uploadFiles({ files: [{ ...place, Key: 'up/1', FilePath: small() }, { ...place, Key: 'up/2', FilePath: big() }], SliceSize: MB });
    assert.deepStrictEqual(files.map((each) => each.error), [null, null]);
  },
  'multipartAbort': async () => {
    const { UploadId } = await cos.multipartInit({ ...place, Key: 'multi' });
    await cos.multipartAbort({ ...place, Key: 'multi', UploadId });
    assert.deepStrictEqual(await refusal(() => cos.multipartListPart({ ...place, Key: 'multi', UploadId })), [404, 'NoSuchUpload']);
  },
  'sliceUploadFile: resumed': async () => {
    const FilePath = file('resumed', 20 * MB);
    await interrupted('resumed', FilePath, (task, done) => { cos.cancelTask(task); setTimeout(done, 50); });
    await new COS({ ...settings, ChunkSize: MB }).sliceUploadFile({ ...place, Key: 'resumed', FilePath, SliceSize: 1, ChunkSize: MB });
    assert.ok((await cos.getObject({ ...place, Key: 'resumed' })).Body.equals(fs.readFileSync(FilePath)));
  },
  'getObject: keys that would become others are refused by the client': async () => {
    await assert.rejects(() => cos.getObject({ ...place, Key: '///' }));
    await assert.rejects(() => cos.getObject({ ...place, Key: '/a/../' }));
  },
  'downloadFile: no such object': async () => {
    await assert.rejects(() => cos.downloadFile({ ...place, Key: 'never', FilePath: path.join(folder, 'never') }));
  },
  'downloadFile: an empty object': async () => {
    await cos.downloadFile({ ...place, Key: 'nothing-in-it', FilePath: path.join(folder, 'none') });
    assert.strictEqual(fs.statSync(path.join(folder, 'none')).size, 0);
  },
  'downloadFile: a small object': async () => {
    await cos.downloadFile({ ...place, Key: 'chinese', FilePath: path.join(folder, 'down') });
    assert.strictEqual(fs.readFileSync(path.join(folder, 'down'), 'utf8'), '中文');
  },
  'downloadFile: a large object, in parts': async () => {
    const FilePath = path.join(folder, 'large');
    await cos.downloadFile({ ...place, Key: 'up/big', FilePath, ChunkSize: MB, ParallelLimit: 3 });
    assert.ok(fs.readFileSync(FilePath).equals((await cos.getObject({ ...place, Key: 'up/big' })).Body));
  },
  'request: any call': async () => {
    const answer = await cos.request({ ...place, Key: 'chinese', Method: 'HEAD' });
    assert.strictEqual(answer.statusCode, 200);
  },
};

const object = { ...place, Key: 'there' };
const REFUSED = {
  'listObjectVersions': () => cos.listObjectVersions(place),
  'deleteBucket': () => cos.deleteBucket(place),
  'putBucketAcl': () => cos.putBucketAcl({ ...place, ACL: 'private' }),
  'getBucketAcl': () => cos.getBucketAcl(place),
  'putObjectAcl': () => cos.putObjectAcl({ ...object, ACL: 'private' }),
  'getObjectAcl': () => cos.getObjectAcl(object),
  'putBucketCors': () => cos.putBucketCors({ ...place, CORSRules: [{ AllowedOrigin: ['*'], AllowedMethod: ['GET'] }] }),
  'getBucketCors': () => cos.getBucketCors(place),
  'deleteBucketCors': () => cos.deleteBucketCors(place),
  'putBucketTagging': () => cos.putBucketTagging({ ...place, Tags: [{ Key: 'k', Value: 'v' }] }),
  'getBucketTagging': () => cos.getBucketTagging(place),
  'deleteBucketTagging': () => cos.deleteBucketTagging(place),
  'putBucketPolicy': () => cos.putBucketPolicy({ ...place, Policy: { version: '2.0', Statement: [] } }),
  'deleteBucketPolicy': () => cos.deleteBucketPolicy(place),
  'getBucketLocation': () => cos.getBucketLocation(place),
  'putBucketLifecycle': () => cos.putBucketLifecycle({ ...place, Rules: [{ ID: '1' }] }),
  'deleteBucketLifecycle': () => cos.deleteBucketLifecycle(place),
  'putBucketWebsite': () => cos.putBucketWebsite({ ...place, WebsiteConfiguration: { IndexDocument: { Suffix: 'i' } } }),
  'deleteBucketWebsite': () => cos.deleteBucketWebsite(place),
  'putBucketDomain': () => cos.putBucketDomain({ ...place, DomainRule: [{ Status: 'DISABLED' }] }),
  'deleteBucketDomain': () => cos.deleteBucketDomain(place),
  'putBucketLogging': () => cos.putBucketLogging({ ...place, BucketLoggingStatus: '' }),
  'getBucketLogging': () => cos.getBucketLogging(place),
  'getBucketInventory': () => cos.getBucketInventory({ ...place, Id: '1' }),
  'deleteBucketInventory': () => cos.deleteBucketInventory({ ...place, Id: '1' }),
  'putObject with x-cos-tagging': () => cos.putObject({ ...object, Body: 'x', Headers: { 'x-cos-tagging': 'a=b' } }),
  'putObjectTagging': () => cos.putObjectTagging({ ...object, Tags: [{ Key: 'k', Value: 'v' }] }),
  'getObjectTagging': () => cos.getObjectTagging(object),
  'deleteObjectTagging': () => cos.deleteObjectTagging(object),
  'putBucketAccelerate': () => cos.putBucketAccelerate({ ...place, AccelerateConfiguration: { Status: 'Enabled' } }),
  'getBucketAccelerate': () => cos.getBucketAccelerate(place),
  'putBucketEncryption': () => cos.putBucketEncryption({ ...place, ServerSideEncryptionConfiguration: { Rule: [] } }),
  'getBucketEncryption': () => cos.getBucketEncryption(place),
  'deleteBucketEncryption': () => cos.deleteBucketEncryption(place),
  'selectObjectContent': () => cos.selectObjectContent({ ...object, SelectType: 2, SelectRequest: { Expression: 'select * from COSObject' } }),
  'putBucketReplication': () => cos.putBucketReplication({ ...place, ReplicationConfiguration: { Role: 'r', Rules: [] } }),
  'deleteBucketReplication': () => cos.deleteBucketReplication(place),
  'putBucketVersioning': () => cos.putBucketVersioning({ ...place, VersioningConfiguration: { Status: 'Enabled' } }),
  'getBucketVersioning': () => cos.getBucketVersioning(place),
  'putBucketOrigin': () => cos.putBucketOrigin({ ...place, OriginRule: [] }),
  'deleteBucketOrigin': () => cos.deleteBucketOrigin(place),
  'putBucketReferer': () => cos.putBucketReferer({ ...place, RefererConfiguration: { Status: 'Enabled', RefererType: 'Black-List', DomainList: { Domain: 'a' } } }),
  'getBucketReferer': () => cos.getBucketReferer(place),
  'restoreObject': () => cos.restoreObject({ ...object, RestoreRequest: { Days: 1 } }),
  'appendObject': () => cos.appendObject({ ...object, Body: 'x', Position: 0 }),
  'putObject with pic-operations': () => cos.putObject({ ...object, Body: 'x', Headers: { 'Pic-Operations': '{}' } }),
};

(async () => {
  const seen = { passing: {}, refused: {} };
  await put('there', 'media');
  for (const [name, act] of Object.entries(PASSING)) {
    try {
      await act();
      seen.passing[name] = '';
    } catch (error) {
      seen.passing[name] = `${(error && error.stack) || JSON.stringify(error)}`;
    }
  }
  for (const [name, act] of Object.entries(REFUSED)) {
    seen.refused[name] = await refusal(act).catch((error) => `${error.stack}`);
  }
  seen.there = await read('there');
  process.stdout.write(JSON.stringify(seen), () => process.exit(0));
})();
