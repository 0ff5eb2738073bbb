-- Single precision holds the square of no such length: distances would be 0 to everything, or NaN.
begin;
do $$
declare
    v_value text;
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.register_model('far', 3, 'l2');
    foreach v_value in array array['[1e-25,9e-25,9e-25]', '[2e19,0,0]', '[1e-16,0,0]'] loop
        begin
            perform kompanion.upsert_item('acme', 'k', 'c', vectors => array[v_value]::vector[]);
            assert false, 'it was not refused';
        exception when sqlstate 'KM004' then
            assert sqlerrm like 'vectors[1]: is %er than 1e%, too % for distances in single precision', sqlerrm;
        end;
        begin
            perform kompanion.upsert_items(jsonb_build_array(jsonb_build_object('namespace', 'acme', 'content', 'c', 'vectors', array[v_value::jsonb])));
            assert false, 'it was not refused';
        exception when sqlstate 'KM004' then
            assert sqlerrm like 'items[1].vectors[1]: is % for distances%', sqlerrm;
        end;
        begin
            perform kompanion.search('acme', v_value::vector);
            assert false, 'it was not refused';
        exception when sqlstate 'KM004' then
            assert sqlerrm like 'query: is % for distances%', sqlerrm;
        end;
    end loop;
    perform kompanion.upsert_item('acme', 'k', 'c', vectors => array['[1e-14,0,0]']::vector[]);
    perform kompanion.upsert_item('acme', 'small', 'c', vectors => array['[1e-25,0,0]']::vector[], model => 'far');
    perform kompanion.upsert_item('acme', 'zero', 'c', vectors => array['[0,0,0]']::vector[], model => 'far');
    perform kompanion.upsert_items('[{"namespace": "acme", "content": "c", "vectors": [[0, 0, 1e-25]]}]', 'far');
    begin
        perform kompanion.upsert_item('acme', 'k', 'c', vectors => array['[2e19,0,0]']::vector[], model => 'far');
        assert false, 'it was not refused';
    exception when sqlstate 'KM004' then null;
    end;
end
$$;
rollback;
